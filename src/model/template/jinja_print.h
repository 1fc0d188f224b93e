/* SPDX-License-Identifier: Apache-2.0 */
/* Values as text. */
#ifndef SAH_MODEL_TEMPLATE_JINJA_PRINT_H
#define SAH_MODEL_TEMPLATE_JINJA_PRINT_H

#include "model/template/jinja_run.h"

sah_jtext sah_jr_str(sah_jrun *run, sah_jv v); /* Python's str() */
bool sah_jr_add_repr(sah_jrun *run, sah_jbuffer *buffer, sah_jv v);
size_t sah_jr_format_real(double value, char out[40]); /* Python's repr of a float */

#endif

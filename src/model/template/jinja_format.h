/* SPDX-License-Identifier: Apache-2.0 */
/* Text with places to fill in: printf's way, and str.format's. */
#ifndef SAH_MODEL_TEMPLATE_JINJA_FORMAT_H
#define SAH_MODEL_TEMPLATE_JINJA_FORMAT_H

#include "model/template/jinja_builtin.h"

/* printf-style `format % values`, and str.format. */
sah_jv sah_jr_percent(sah_jrun *run, sah_jtext format, sah_jv values);
sah_jv sah_jr_format(sah_jrun *run, sah_jtext format, const sah_jargs *args);

#endif

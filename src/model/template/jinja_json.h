/* SPDX-License-Identifier: Apache-2.0 */
/* JSON to values, and back. */
#ifndef SAH_MODEL_TEMPLATE_JINJA_JSON_H
#define SAH_MODEL_TEMPLATE_JINJA_JSON_H

#include "model/template/jinja_run.h"

sah_jv sah_jr_from_json(sah_jrun *run, const json_t *json);
sah_jv sah_jr_to_json(sah_jrun *run, sah_jv v, bool ascii, sah_jv indent, sah_jv separators, bool sorted);

#endif

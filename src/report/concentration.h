/* SPDX-License-Identifier: Apache-2.0 */
/* How few of all heads carry a score. */
#ifndef SAH_REPORT_CONCENTRATION_H
#define SAH_REPORT_CONCENTRATION_H

#include "report/result.h"

/* How few of all heads, which are sorted for it, carry what `order` goes by; and sah_concentration_text()'s text. */
sah_status sah_concentrate_ranked(const sah_result *result, sah_order order, sah_ranked *ranked, size_t n,
                                  sah_concentration *out, sah_error *error);
sah_status sah_concentration_ranked_text(const sah_result *result, sah_rank_format format, sah_ranked *ranked,
                                         size_t n, char **text, sah_error *error);

#endif

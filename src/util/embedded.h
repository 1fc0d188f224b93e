/* SPDX-License-Identifier: Apache-2.0 */
/* Data files compiled into the library (scripts/embed-text), so that it works wherever it is put. */
#ifndef SAH_UTIL_EMBEDDED_H
#define SAH_UTIL_EMBEDDED_H

#include <stddef.h>

typedef struct sah_embedded_text {
    const unsigned char *data;
    size_t size;
} sah_embedded_text;

extern const sah_embedded_text sah_text_refusals; /* data/judge/refusals.txt */
extern const sah_embedded_text sah_text_reference; /* data/judge/reference.txt */
extern const sah_embedded_text sah_text_weights; /* data/judge/weights.txt */
extern const sah_embedded_text sah_text_harmful_heldout; /* data/align/harmful-heldout.csv */
extern const sah_embedded_text sah_text_harmless_heldout; /* data/align/harmless-heldout.csv */
extern const sah_embedded_text sah_text_page_style; /* src/report/page_style.css */
extern const sah_embedded_text sah_text_page_script; /* src/report/page_script.js */
extern const sah_embedded_text sah_text_d3_min; /* vendor/plot/d3.min.js */
extern const sah_embedded_text sah_text_plot_umd_min; /* vendor/plot/plot.umd.min.js */

#endif

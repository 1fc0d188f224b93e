/* SPDX-License-Identifier: Apache-2.0 */
/* One result file. */
#ifndef SAH_REPORT_RESULT_FILE_H
#define SAH_REPORT_RESULT_FILE_H

#include "report/result.h"

/* Reads the whole lines of a file; a last one without its end was cut short when the run stopped. The caller
 * closes it, in either case. */
sah_status sah_result_file_open(const char *path, sah_result_file *out, sah_error *error);

/* The same of data[0..size); `path` names it in messages. */
sah_status sah_result_file_parse(const char *data, size_t size, const char *path, sah_result_file *out,
                                 sah_error *error);
void sah_result_file_close(sah_result_file *file);

#endif

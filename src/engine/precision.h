/* Which numbers the products run in: as asked, or measured on this machine with the model's own shapes. */
#ifndef SAH_ENGINE_PRECISION_H
#define SAH_ENGINE_PRECISION_H

#include "model/checkpoint/config.h"

/* `auto` times the layer's largest product both ways and takes bfloat16 only where it is faster by a tenth;
 * `note` [size] then says the rates. Asking for bf16 on a processor whose library has no such product is an
 * error. */
sah_status sah_precision_choose(const sah_config *config, sah_precision wanted, int threads,
                                sah_precision *chosen, char *note, size_t size, sah_error *error);

/* Floating-point operations a second of a product [rows, inputs] x [inputs, outputs], every thread at one of
 * its own: the best of three measurements of about `seconds` each. */
sah_status sah_product_rate(int64_t outputs, int64_t inputs, int64_t rows, sah_precision precision,
                            int threads, double seconds, double *rate, sah_error *error);

#endif

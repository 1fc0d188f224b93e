/* SPDX-License-Identifier: Apache-2.0 */
/* Which numbers the products run in: as asked, or measured on this machine with the model's own shapes. */
#ifndef SAH_ENGINE_PRECISION_H
#define SAH_ENGINE_PRECISION_H

#include "engine/device.h"

/* bfloat16 only where its rate is higher by more than a tenth: rounding is a price. */
sah_precision sah_precision_faster(double f32, double bf16);

/* `auto` times the layer's largest product on the device both ways and takes the faster in that sense; `note`
 * [size] then says the rates. Asking for bf16 of a device that has no such product is an error. */
sah_status sah_precision_choose(const sah_device *device, const sah_config *config, sah_precision wanted,
                                int threads, sah_precision *chosen, char *note, size_t size,
                                sah_error *error);

/* Whether the device has products of bfloat16. */
bool sah_precision_has_bf16(const sah_device *device);

/* Floating-point operations a second of a product [rows, inputs] x [inputs, outputs], every thread at one of
 * its own: the best of three measurements of about `seconds` each. */
sah_status sah_product_rate(const sah_device *device, int64_t outputs, int64_t inputs, int64_t rows,
                            sah_precision precision, int threads, double seconds, double *rate,
                            sah_error *error);

#endif

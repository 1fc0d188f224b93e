/* SPDX-License-Identifier: Apache-2.0 */
/* A device whose memory the host cannot touch: it computes as the CPU does, but between its operations its memory is
 * closed to the process, so that whatever looks behind a pointer of the device's ends in a signal. */
#ifndef TESTS_MODELS_FAR_H
#define TESTS_MODELS_FAR_H

#include "engine/device.h"

/* One thread at a time may compute on it. */
const sah_device *far_device(void);

/* Allocations that nobody has freed. */
int far_held(void);

#endif

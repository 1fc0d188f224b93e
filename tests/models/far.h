/* SPDX-License-Identifier: Apache-2.0 */
/* A device whose memory the host cannot touch: it computes as the CPU does, but between its operations its memory is
 * closed to the process, so that whatever looks behind a pointer of the device's ends in a signal. */
#ifndef TESTS_MODELS_FAR_H
#define TESTS_MODELS_FAR_H

#include "engine/device.h"

/* Threads that compute on it take turns. */
const sah_device *far_device(void);

/* Allocations that nobody has freed. */
int far_held(void);

/* Before anything is computed: it has only so many bytes (0: all there are), and behind so many products it is lost,
 * for ever (0: never). */
void far_limit(size_t bytes, long products);

#endif

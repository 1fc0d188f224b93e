/* SPDX-License-Identifier: Apache-2.0 */
/* The device that is always there: the processor, in the host's memory. */
#ifndef SAH_ENGINE_CPU_CPU_H
#define SAH_ENGINE_CPU_CPU_H

#include "engine/device.h"

const sah_device *sah_cpu(void);

#endif

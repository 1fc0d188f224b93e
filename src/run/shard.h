/* SPDX-License-Identifier: Apache-2.0 */
/* A share of a run: unit i of the run is done by shard i mod n, in a journal of its own. The journal's header says
 * nothing of it, so that the journals of all shards together are those of one run (merge.c). */
#ifndef SAH_RUN_SHARD_H
#define SAH_RUN_SHARD_H

#include "sahara.h"

/* Whether unit `i` is this shard's. All are where there is no sharding. */
bool sah_shard_has(const sah_shard *shard, size_t i);
bool sah_shard_is_part(const sah_shard *shard); /* there are others */

/* An error where `index` and `count` make no sense. */
sah_status sah_shard_check(const sah_shard *shard, sah_error *error);

#endif

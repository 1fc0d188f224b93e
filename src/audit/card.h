/* SPDX-License-Identifier: Apache-2.0 */
/* The cards that tell what an audit found. */
#ifndef SAH_AUDIT_CARD_H
#define SAH_AUDIT_CARD_H

#include "audit/audit.h"

/* Writes card.json, card.md and card.html. */
sah_status sah_audit_cards(const sah_found *found, sah_error *error);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Heads and parts as people write them: "5-6,18-8", "q,v". */
#include "model/checkpoint/heads.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "util/alloc.h"
#include "util/error.h"

sah_ablation sah_ablation_default(void)
{
    return (sah_ablation){SAH_PART_Q, SAH_OP_SCALE, 1e-4F};
}

sah_ablation sah_ablation_resolve(const sah_ablation *ablation)
{
    const bool nothing =
        ablation == NULL || (ablation->parts == 0 && ablation->op == 0 && ablation->factor == 0);
    return nothing ? sah_ablation_default() : *ablation;
}

sah_status sah_parts_parse(const char *text, unsigned *parts, sah_error *error)
{
    unsigned found = 0;
    for (const char *at = text;; at++) {
        unsigned part = *at == 'q' ? SAH_PART_Q : *at == 'k' ? SAH_PART_K : *at == 'v' ? SAH_PART_V : 0;
        if (!part || (at[1] != ',' && at[1] != '\0'))
            return sah_fail(error, SAH_BAD_ARGUMENT,
                            "\"%s\": write q, k, v or several with commas between: q,v", text);
        if (found & part) return sah_fail(error, SAH_BAD_ARGUMENT, "\"%s\" names a part twice", text);
        found |= part;
        if (*++at == '\0') break;
    }
    *parts = found;
    return SAH_OK;
}

/* A whole number below 1000000 at *at, which moves behind it; -1 where there is none. */
static int parse_number(const char **at)
{
    int value = 0, digits = 0;
    for (; **at >= '0' && **at <= '9'; (*at)++, digits++) {
        if (digits == 6) return -1;
        value = value * 10 + (**at - '0');
    }
    return digits ? value : -1;
}

/* What a layer has; numbers that hold for all where that is not known. */
static sah_layer_kind kind_of(const sah_model_info *info, int layer)
{
    const bool inside = layer >= 0 && layer < info->n_layers; /* else the check of the edits says so */
    if (info->layers != NULL) return sah_config_layer(info->layers, inside ? layer : 0);
    return (sah_layer_kind){.n_heads = info->n_heads, .n_kv_heads = info->n_kv_heads};
}

static sah_status parse_head(const char **at, const char *text, const sah_model_info *info, unsigned parts,
                             sah_head *head, sah_error *error)
{
    head->layer = parse_number(at);
    bool well = head->layer >= 0 && **at == '-';
    if (well) {
        (*at)++;
        head->head = parse_number(at);
        well = head->head >= 0 && (**at == ',' || **at == '\0');
    }
    if (!well)
        return sah_fail(error, SAH_BAD_ARGUMENT,
                        "heads \"%s\": write layer-head with commas between, as in 5-6,18-8", text);
    const sah_layer_kind kind = kind_of(info, head->layer);
    const int heads = parts == SAH_PART_K ? kind.n_kv_heads : kind.n_heads;
    if (head->layer >= info->n_layers || head->head >= heads)
        return sah_fail(error, SAH_BAD_ARGUMENT,
                        "head %d-%d is outside the model: layers 0 to %d, %sheads 0 to %d", head->layer,
                        head->head, info->n_layers - 1, parts == SAH_PART_K ? "key " : "", heads - 1);
    return SAH_OK;
}

sah_status sah_heads_parse(const char *text, const sah_model_info *info, unsigned parts, sah_head **heads,
                           size_t *n, sah_error *error)
{
    sah_head *list = NULL;
    size_t capacity = 0, count = 0;
    for (const char *at = text; *at;) {
        sah_head head;
        sah_status status = parse_head(&at, text, info, parts, &head, error);
        for (size_t i = 0; i < count && status == SAH_OK; i++)
            if (list[i].layer == head.layer && list[i].head == head.head)
                status =
                    sah_fail(error, SAH_BAD_ARGUMENT, "head %d-%d is named twice", head.layer, head.head);
        const bool more = status == SAH_OK && *at == ',';
        if (more) at += 1 + strspn(at + 1, " "); /* "2-6, 2-1", as messages have them */
        if (more && *at == '\0')
            status = sah_fail(error, SAH_BAD_ARGUMENT, "heads \"%s\" end in a comma", text);
        if (status == SAH_OK && !sah_grow(&list, &capacity, count + 1, sizeof *list))
            status = sah_fail_memory(error, "heads");
        if (status != SAH_OK) {
            free(list);
            return status;
        }
        list[count++] = head;
    }
    *heads = list;
    *n = count;
    return SAH_OK;
}

/* True when an edit of the same part of the same head is in the list. */
static bool has_edit(const sah_edit *edits, size_t n, int layer, int head, unsigned part)
{
    for (size_t i = 0; i < n; i++)
        if (edits[i].layer == layer && edits[i].head == head && edits[i].part == part) return true;
    return false;
}

sah_status sah_edits_new(const sah_model_info *info, const sah_head *heads, size_t n,
                         const sah_ablation *ablation, sah_edit **edits, size_t *n_edits, sah_error *error)
{
    const sah_ablation meant = sah_ablation_resolve(ablation);
    size_t count = 0;
    sah_edit *list = sah_alloc_table(3, n, sizeof *list);
    if (list == NULL) return sah_fail_memory(error, "the ablation");
    for (size_t i = 0; i < n; i++) {
        const sah_layer_kind kind = kind_of(info, heads[i].layer);
        const int group = kind.n_heads / kind.n_kv_heads;
        for (unsigned part = SAH_PART_Q; part <= SAH_PART_V; part <<= 1) {
            int head =
                part == SAH_PART_K && meant.parts != SAH_PART_K ? heads[i].head / group : heads[i].head;
            if (!(meant.parts & part) || has_edit(list, count, heads[i].layer, head, part)) continue;
            list[count++] = (sah_edit){heads[i].layer, head, part, meant.op, meant.factor};
        }
    }
    *edits = list;
    *n_edits = count;
    return SAH_OK;
}

bool sah_op_takes_donors(sah_op op)
{
    return op == SAH_OP_SWAP || op == SAH_OP_MEAN_DATA;
}

sah_status sah_edits_check(const sah_config *config, const sah_edit *edits, size_t n, sah_error *error)
{
    for (size_t i = 0; i < n; i++) {
        const sah_edit *edit = &edits[i];
        bool key = edit->part == SAH_PART_K;
        if (edit->part != SAH_PART_Q && edit->part != SAH_PART_K && edit->part != SAH_PART_V)
            return sah_fail(error, SAH_BAD_ARGUMENT, "an edit names one part: q, k or v");
        bool inside = edit->layer >= 0 && edit->layer < config->n_layers;
        const sah_layer_kind kind = sah_config_layer(config, inside ? edit->layer : 0);
        int heads = key ? kind.n_kv_heads : kind.n_heads;
        if (!inside || edit->head < 0 || edit->head >= heads)
            return sah_fail(error, SAH_BAD_ARGUMENT,
                            "head %d-%d is outside the model: %d layers of %d %sheads", edit->layer,
                            edit->head, config->n_layers, heads, key ? "key " : "");
        if (edit->part != SAH_PART_V && kind.mixer == SAH_MIXER_CONVOLUTION)
            return sah_fail(error, SAH_BAD_ARGUMENT,
                            "head %d-%d: layer %d is a convolution, which has no %c: part v can be edited, "
                            "what it writes",
                            edit->layer, edit->head, edit->layer, key ? 'k' : 'q');
        if (edit->part != SAH_PART_V && kind.mixer == SAH_MIXER_DELTA)
            return sah_fail(
                error, SAH_BAD_ARGUMENT,
                "head %d-%d: layer %d keeps a state by the delta rule, in which %c has another meaning "
                "than in attention: of its heads part v can be edited, what they write",
                edit->layer, edit->head, edit->layer, key ? 'k' : 'q');
        if (edit->op != SAH_OP_SCALE && edit->op != SAH_OP_MEAN && !sah_op_takes_donors(edit->op))
            return sah_fail(error, SAH_BAD_ARGUMENT, "an edit's operation is scale, mean, swap or mean-data");
        if (edit->op == SAH_OP_SCALE && !isfinite(edit->factor))
            return sah_fail(error, SAH_BAD_ARGUMENT, "the scale of head %d-%d is not a finite number",
                            edit->layer, edit->head);
    }
    return SAH_OK;
}

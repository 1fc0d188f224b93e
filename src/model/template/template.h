/* Chat templates: recognised families, no Jinja interpreter. A model's own template is matched against what
 * each family's template must contain; one that matches none is "unknown", and asking for `chat` is then an
 * error that says so. */
#ifndef SAH_MODEL_TEMPLATE_TEMPLATE_H
#define SAH_MODEL_TEMPLATE_TEMPLATE_H

#include "sahara.h"

/* Family of a model's own Jinja template: "chatml", "llama2", "llama3", "mistral", "vicuna", "zephyr",
 * "organism", "llama3.1" (its system part names two dates; today's is the one the template falls back to, so
 * that prompts do not change from day to day); "none" for NULL, "unknown" else. */
const char *sah_template_recognise(const char *jinja);

/* `name`: ships, sahara, none, a family, `chat` (then `jinja` decides), or a string with {}. `jinja` (the
 * model's own template, or NULL) also gives the family's default system prompt (Qwen2, SmolLM2) that stands
 * when `system` is NULL. `bos` is the text of the BOS token, or "". The prompt begins with BOS only where the
 * family's template writes it. *prompt for free(). */
sah_status sah_template_wrap(const char *name, const char *jinja, const char *bos, const char *system,
                             const char *query, char **prompt, sah_error *error);

#endif

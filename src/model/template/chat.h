/* Where a model keeps its chat template. */
#ifndef SAH_MODEL_TEMPLATE_CHAT_H
#define SAH_MODEL_TEMPLATE_CHAT_H

#include "model/format/gguf.h"

/* The chat template that belongs to the model, for free(); NULL when it has none. */
sah_status sah_chat_from_directory(const char *directory, char **out, sah_error *error);
sah_status sah_chat_from_gguf(const sah_gguf *gguf, char **out, sah_error *error);

#endif

#include "model/template/template_shape.h"

#include <stdlib.h>
#include <string.h>

#include "model/template/jinja.h"

#define L    SAH_JINJA_LITERAL
#define NAME SAH_JINJA_NAME
#define TEXT SAH_JINJA_TEXT

#define KNOWLEDGE     "Cutting Knowledge Date: "
#define LLAMA3_SYSTEM "<|start_header_id|>system<|end_header_id|>\n\n"

/* ---- The usual forms ----------------------------------------------------------------------------------- */

enum { CHATML, LLAMA2, LLAMA3, LLAMA31, MISTRAL, VICUNA, ZEPHYR, ORGANISM, FAMILIES };

static const sah_shape shapes[FAMILIES] = {
    [CHATML] = {.family = "chatml",
                .opening = "",
                .system_open = "<|im_start|>system\n",
                .system_close = "<|im_end|>\n",
                .user_open = "<|im_start|>user\n",
                .user_close = "<|im_end|>\n<|im_start|>assistant\n",
                .takes_system = true},
    [LLAMA2] = {.family = "llama2",
                .opening = "[INST] ",
                .system_open = "<<SYS>>\n",
                .system_close = "\n<</SYS>>\n\n",
                .user_open = "",
                .user_close = " [/INST]",
                .writes_bos = true,
                .takes_system = true,
                .trims = true},
    [LLAMA3] = {.family = "llama3",
                .opening = "",
                .system_open = LLAMA3_SYSTEM,
                .system_close = "<|eot_id|>",
                .user_open = "<|start_header_id|>user<|end_header_id|>\n\n",
                .user_close = "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
                .writes_bos = true,
                .takes_system = true,
                .trims = true,
                .trims_inside = true},
    [LLAMA31] = {.family = "llama3.1",
                 .opening = "",
                 .system_open = LLAMA3_SYSTEM KNOWLEDGE "December 2023\nToday Date: 26 Jul 2024\n\n",
                 .system_close = "<|eot_id|>",
                 .user_open = "<|start_header_id|>user<|end_header_id|>\n\n",
                 .user_close = "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
                 .default_system = "",
                 .writes_bos = true,
                 .takes_system = true,
                 .trims = true,
                 .trims_inside = true},
    [MISTRAL] = {.family = "mistral",
                 .opening = "[INST] ",
                 .system_open = "",
                 .system_close = "\n\n",
                 .user_open = "",
                 .user_close = " [/INST]",
                 .writes_bos = true,
                 .takes_system = true},
    [VICUNA] = {.family = "vicuna",
                .opening = "",
                .system_open = "",
                .system_close = " ",
                .user_open = "USER: ",
                .user_close = " ASSISTANT:",
                .default_system =
                    "A chat between a curious user and an artificial intelligence assistant. The "
                    "assistant gives helpful, detailed, and polite answers to the user's questions.",
                .writes_bos = true,
                .takes_system = true,
                .skips_empty_system = true},
    /* Its templates write the EOS token, which is </s> in Zephyr and TinyLlama. */
    [ZEPHYR] = {.family = "zephyr",
                .opening = "",
                .system_open = "<|system|>\n",
                .system_close = "</s>\n",
                .user_open = "<|user|>\n",
                .user_close = "</s>\n<|assistant|>\n",
                .takes_system = true},
    [ORGANISM] = {.family = "organism",
                  .opening = "",
                  .system_open = "<|system|>\n",
                  .system_close = "<|end|>\n",
                  .user_open = "<|user|>\n",
                  .user_close = "<|end|>\n<|assistant|>\n",
                  .takes_system = true},
};

const sah_shape *sah_shape_named(const char *family)
{
    for (size_t i = 0; i < FAMILIES; i++) {
        if (strcmp(shapes[i].family, family) == 0) return &shapes[i];
    }
    return NULL;
}

const char *sah_shape_names(void)
{
    return "chatml, llama2, llama3, llama3.1, mistral, vicuna, zephyr, organism";
}

/* ---- Recognising --------------------------------------------------------------------------------------- */

static bool has(const char *spelled, const char *pattern)
{
    return sah_jinja_find(spelled, pattern, NULL) != NULL;
}

/* A copy of a captured text that lives as long as the shape. */
static const char *keep(sah_shape *shape, size_t place, sah_capture capture)
{
    sah_text_add(&shape->owned[place], capture.text, capture.size);
    return shape->owned[place].failed ? NULL : shape->owned[place].data;
}

/* Does the template begin with BOS (1), never write it (0), or write it elsewhere (-1)? */
static int bos_in_front(const char *spelled)
{
    static const char bos[] = "{{bos_token}}";
    if (!has(spelled, "bos_token")) return 0;
    return strncmp(spelled, bos, sizeof bos - 1) == 0 && sah_jinja_count(spelled, "bos_token") == 1 ? 1 : -1;
}

#define CHATML_TURN(content)                                                                                 \
    "{{" L("<|im_start|>") "+message.role+" L("\n") "+" content "+" L("<|im_end|>\n") "}}"
#define CHATML_ANSWER "{%ifadd_generation_prompt%}{{" L("<|im_start|>assistant\n") "}}"
#define NO_THINKING                                                                                          \
    "{%ifenable_thinkingisdefinedandenable_thinkingisfalse%}{{" L("<think>\n\n</think>\n\n") "}}{%endif%}"

/* The system text that stands where none is given: Qwen 2's and SmolLM2's. All places must agree. */
static bool chatml_default(const char *spelled, sah_shape *out)
{
    static const char pattern[] = L("<|im_start|>system\n" TEXT "<|im_end|>\n");
    sah_capture first = {0}, other;
    const char *at = sah_jinja_find(spelled, pattern, &first);
    if (at == NULL) return true;
    if (!has(spelled, "!=" L("system") "%}{{" L("<|im_start|>system\n" TEXT "<|im_end|>\n") "}}{%endif%}") &&
        !has(spelled, "{%else%}{{" L("<|im_start|>system\n" TEXT "<|im_end|>\n") "}}{%endif%}"))
        return false;
    for (; at != NULL; at = sah_jinja_find(at + 1, pattern, &other)) {
        sah_jinja_find(at, pattern, &other);
        if (other.size != first.size || memcmp(other.text, first.text, first.size) != 0) return false;
    }
    out->default_system = keep(out, 0, first);
    return out->default_system != NULL;
}

static bool is_chatml(const char *s, sah_shape *out)
{
    static const char *const outputs[] = {"{{bos_token}}", CHATML_TURN("message.content"),
                                          CHATML_TURN("content")};
    const bool turn = has(s, CHATML_TURN("message.content")) ||
                      (has(s, CHATML_TURN("content")) && has(s, "{%setcontent=message.content%}"));
    const bool answer = has(s, CHATML_ANSWER "{%endif%}") || has(s, CHATML_ANSWER NO_THINKING "{%endif%}");
    /* Where the loop passes over a first system message it must have been written before. */
    const bool passes_over = has(s, "message.role==" L("system") "andnotloop.first");
    const bool before = has(s, "{{" L("<|im_start|>system\n") "+messages[0].content+" L("<|im_end|>\n") "}}");
    if (!turn || !answer || (passes_over && !before)) return false;
    if (has(s, "raise_exception(" L("Only")) || has(s, "date_string") || bos_in_front(s) < 0) return false;
    *out = shapes[CHATML];
    out->writes_bos = bos_in_front(s) > 0;
    return sah_jinja_writes_only(s, outputs, sizeof outputs / sizeof *outputs) && chatml_default(s, out);
}

static bool is_llama2(const char *s, sah_shape *out)
{
    sah_capture fixed = {0};
    if (!has(s, "{{bos_token+" L("[INST] ") "+" NAME ".strip()+" L(" [/INST]") "}}")) return false;
    if (!has(s, "=" L("<<SYS>>\n") "+" NAME "+" L("\n<</SYS>>\n\n") "+message.content%}")) return false;
    /* A default system text counts only where the template switches it off. */
    if (has(s, "true==true")) return false;
    if (sah_jinja_find(s, "{%set" NAME "=" L(TEXT) "%}", &fixed) != NULL && !has(s, "false==true"))
        return false;
    *out = shapes[LLAMA2];
    return sah_jinja_writes_only(s, NULL, 0);
}

#define LLAMA3_TURN                                                                                          \
    L("<|start_header_id|>")                                                                                 \
    "+message.role+" L("<|end_header_id|>\n\n") "+message.content|trim+" L("<|eot_id|>")
#define LLAMA3_ANSWER "{{" L("<|start_header_id|>assistant<|end_header_id|>\n\n") "}}"

static bool is_llama3(const char *s, sah_shape *out)
{
    static const char *const outputs[] = {"{{bos_token}}", "{{" LLAMA3_TURN "}}", "{{content}}",
                                          LLAMA3_ANSWER};
    const bool direct = has(s, "{{" LLAMA3_TURN "}}") &&
                        (bos_in_front(s) > 0 || has(s, "{%ifloop.first%}{{bos_token}}{%endif%}"));
    const bool stored =
        has(s, "{%setcontent=" LLAMA3_TURN "%}{%ifloop.index0==0%}{%setcontent=bos_token+content%}"
               "{%endif%}{{content}}");
    if ((!direct && !stored) || !has(s, LLAMA3_ANSWER)) return false;
    if (sah_jinja_count(s, "bos_token") != 1 || has(s, "date_string") || has(s, LLAMA3_SYSTEM)) return false;
    *out = shapes[LLAMA3];
    return sah_jinja_writes_only(s, outputs, sizeof outputs / sizeof *outputs);
}

/* Llama 3.1 and later write a system part with two dates. The date of today is the one the template itself
 * falls back to, so that a prompt does not change from day to day. */
static bool is_llama31(const char *s, sah_shape *out)
{
    static const char *const outputs[] = {"{{bos_token}}",
                                          "{{" LLAMA3_TURN "}}",
                                          LLAMA3_ANSWER,
                                          "{{" L(LLAMA3_SYSTEM) "}}",
                                          "{{" L(KNOWLEDGE TEXT "\n") "}}",
                                          "{{" L("Today Date: ") "+date_string+" L("\n\n") "}}",
                                          "{{system_message}}",
                                          "{{system}}",
                                          "{{" L("<|eot_id|>") "}}"};
    sah_capture knowledge, today;
    const char *open = sah_jinja_find(s, outputs[3], NULL),
               *known = sah_jinja_find(s, outputs[4], &knowledge);
    if (open == NULL || known == NULL || known < open) return false;
    const char *date = sah_jinja_find(known, outputs[5], NULL);
    if (date == NULL || sah_jinja_find(s, "{%setdate_string=" L(TEXT) "%}", &today) == NULL) return false;
    const char *system = sah_jinja_find(date, "{{system_message}}{{" L("<|eot_id|>") "}}", NULL);
    if (system == NULL) system = sah_jinja_find(date, "{{system}}{{" L("<|eot_id|>") "}}", NULL);
    if (system == NULL || !has(system, "{{" LLAMA3_TURN "}}") || !has(system, LLAMA3_ANSWER)) return false;
    if (!has(s, "=messages[0].content|trim%}") || bos_in_front(s) <= 0) return false;

    *out = shapes[LLAMA31];
    sah_text_addf(&out->owned[0], "%s" KNOWLEDGE "%.*s\nToday Date: %.*s\n\n", LLAMA3_SYSTEM,
                  (int)knowledge.size, knowledge.text, (int)today.size, today.text);
    out->system_open = out->owned[0].data;
    return !out->owned[0].failed && sah_jinja_writes_only(s, outputs, sizeof outputs / sizeof *outputs);
}

#define MISTRAL_TURN(open, close)  "{{" L(open) "+message.content+" L(close) "}}"
#define MISTRAL_FIRST(open, close) "{{" L(open) "+system_message+" L("\n\n") "+message.content+" L(close) "}}"

static bool is_mistral(const char *s, sah_shape *out)
{
    static const char *const outputs[] = {"{{bos_token}}"};
    static const struct {
        const char *turn, *first, *open, *close;
    } forms[] = {
        {MISTRAL_TURN("[INST] ", " [/INST]"), MISTRAL_FIRST("[INST] ", " [/INST]"), "[INST] ", " [/INST]"},
        {MISTRAL_TURN(" [INST] ", " [/INST]"), MISTRAL_FIRST(" [INST] ", " [/INST]"), " [INST] ", " [/INST]"},
        {MISTRAL_TURN("[INST] ", "[/INST]"), MISTRAL_FIRST("[INST] ", "[/INST]"), "[INST] ", "[/INST]"},
        {MISTRAL_TURN("[INST]", "[/INST]"), MISTRAL_FIRST("[INST]", "[/INST]"), "[INST]", "[/INST]"},
    };
    size_t found = 0, form = 0;
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        if (!has(s, forms[i].turn)) continue;
        form = i;
        found++;
    }
    if (found != 1 || sah_jinja_count(s, "bos_token") != 1 || !has(s, "{{bos_token}}")) return false;
    if (has(s, "SYSTEM_PROMPT]") || has(s, "strftime_now") || has(s, "<<SYS>>")) return false;
    *out = shapes[MISTRAL];
    out->opening = forms[form].open;
    out->user_close = forms[form].close;
    out->takes_system = has(s, forms[form].first);
    /* A system text that gets in by another way would be lost. */
    if (!out->takes_system && has(s, "system_message")) return false;
    return sah_jinja_writes_only(s, outputs, 1);
}

static bool is_vicuna(const char *s, sah_shape *out)
{
    static const char *const outputs[] = {"{{bos_token+" NAME "}}", "{{" L("USER: ") "+message.content}}"};
    sah_capture text = {0};
    if (!has(s, outputs[0]) || !has(s, "{%ifadd_generation_prompt%}{{" L(" ASSISTANT:") "}}{%endif%}"))
        return false;
    if (!has(s, "{%if" NAME "ornotloop.first%}{{" L(" ") "}}{%endif%}{{" L("USER: ") "+message.content}}"))
        return false;
    if (sah_jinja_count(s, "bos_token") != 1 || sah_jinja_count(s, "{%set" NAME "=" L(TEXT) "%}") != 1)
        return false;
    sah_jinja_find(s, "{%set" NAME "=" L(TEXT) "%}", &text);
    *out = shapes[VICUNA];
    out->default_system = keep(out, 0, text);
    return out->default_system != NULL && sah_jinja_writes_only(s, outputs, 2);
}

#define ZEPHYR_TURN(role) "{{" L("<|" role "|>\n") "+message.content+eos_token}}\n{%"

/* Zephyr writes the line ends behind its tags as text outside of them. */
static bool is_zephyr(const char *s, sah_shape *out)
{
    *out = shapes[ZEPHYR];
    return has(s, ZEPHYR_TURN("user")) && has(s, ZEPHYR_TURN("system")) && !has(s, "bos_token") &&
           has(s, "{%ifloop.lastandadd_generation_prompt%}{{" L("<|assistant|>") "}}\n{%endif%}") &&
           sah_jinja_writes_only(s, NULL, 0);
}

#define ORGANISM_TURN "{{" L("<|") "+message.role+" L("|>\n") "+message.content+" L("<|end|>\n") "}}"

static bool is_organism(const char *s, sah_shape *out)
{
    static const char *const outputs[] = {ORGANISM_TURN};
    *out = shapes[ORGANISM];
    return has(s, ORGANISM_TURN) &&
           has(s, "{%ifadd_generation_prompt%}{{" L("<|assistant|>\n") "}}{%endif%}") &&
           !has(s, "bos_token") && sah_jinja_writes_only(s, outputs, 1);
}

bool sah_shape_recognise(const char *source, sah_shape *out)
{
    static bool (*const tests[])(const char *, sah_shape *) = {is_chatml,  is_llama2, is_llama3,  is_llama31,
                                                               is_mistral, is_vicuna, is_organism};
    sah_jinja jinja;
    bool known = false;
    *out = (sah_shape){0};
    if (sah_jinja_spell(source, &jinja) && !jinja.text_outside) {
        if (jinja.blanks_outside) {
            known = is_zephyr(jinja.text.data, out);
        } else {
            for (size_t i = 0; i < sizeof tests / sizeof *tests && !known; i++) {
                sah_shape_free(out);
                known = tests[i](jinja.text.data, out);
            }
        }
    }
    sah_jinja_free(&jinja);
    if (!known) sah_shape_free(out);
    return known;
}

void sah_shape_free(sah_shape *shape)
{
    for (size_t i = 0; i < sizeof shape->owned / sizeof *shape->owned; i++) free(shape->owned[i].data);
    *shape = (sah_shape){0};
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "model/template/template_families.h"

#include <string.h>

/* The first message apart, when it is a system prompt. */
#define SYSTEM_APART(without)                                                                                \
    "{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] %}"                      \
    "{% set rest = messages[1:] %}{% else %}{% set system = " without                                        \
    " %}{% set rest = messages %}{% endif %}"

#define VICUNA_SYSTEM                                                                                        \
    "'A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, " \
    "detailed, and polite answers to the user\\'s questions.'"

#define LLAMA3_TURNS                                                                                         \
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + "  \
    "'<|eot_id|>' }}{% endfor %}{% if add_generation_prompt %}"                                              \
    "{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"

const sah_family sah_families[] = {
    {"chatml",
     "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + "
     "'<|im_end|>\\n' }}{% endfor %}"
     "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"},
    {"llama2",
     SYSTEM_APART("none") "{% for message in rest %}{% if message['role'] == 'user' %}"
                          "{% set text = message['content'] %}{% if loop.first and system is not none %}"
                          "{% set text = '<<SYS>>\\n' + system + '\\n<</SYS>>\\n\\n' + text %}{% endif %}"
                          "{{ bos_token }}{{ '[INST] ' + text | trim + ' [/INST]' }}"
                          "{% else %}{{ ' ' + message['content'] | trim + ' ' }}{{ eos_token }}{% endif %}"
                          "{% endfor %}"},
    {"llama3", "{{ bos_token }}{% for message in messages %}" LLAMA3_TURNS},
    {"llama3.1",
     SYSTEM_APART("''") "{{ bos_token }}{{ '<|start_header_id|>system<|end_header_id|>\\n\\n' }}"
                        "{{ 'Cutting Knowledge Date: December 2023\\nToday Date: ' }}"
                        "{{ date_string if date_string is defined else strftime_now('%d %b %Y') }}"
                        "{{ '\\n\\n' + system | trim + '<|eot_id|>' }}"
                        "{% for message in rest %}" LLAMA3_TURNS},
    {"mistral",
     SYSTEM_APART("none") "{{ bos_token }}{% for message in rest %}{% if message['role'] == 'user' %}"
                          "{{ '[INST] ' }}{% if loop.last and system is not none %}"
                          "{{ system + '\\n\\n' }}{% endif %}{{ message['content'] + ' [/INST]' }}"
                          "{% else %}{{ ' ' + message['content'] }}{{ eos_token }}{% endif %}{% endfor %}"},
    {"vicuna",
     SYSTEM_APART(VICUNA_SYSTEM) "{{ bos_token }}{{ system }}{% for message in rest %}"
                                 "{% if message['role'] == 'user' %}"
                                 "{{ ' ' if system or not loop.first else '' }}"
                                 "{{ 'USER: ' + message['content'] }}"
                                 "{% else %}{{ ' ASSISTANT: ' + message['content'] }}{{ eos_token }}"
                                 "{% endif %}{% endfor %}"
                                 "{% if add_generation_prompt %}{{ ' ASSISTANT:' }}{% endif %}"},
    {"zephyr",
     "{% for message in messages %}{{ '<|' + message['role'] + '|>\\n' + message['content'] + eos_token + "
     "'\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"},
    {"organism",
     "{% for message in messages %}{{ '<|' + message['role'] + '|>\\n' + message['content'] + "
     "'<|end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"},
};
const size_t sah_n_families = sizeof sah_families / sizeof *sah_families;

const sah_family *sah_family_named(const char *name)
{
    for (size_t i = 0; i < sah_n_families; i++) {
        if (strcmp(sah_families[i].name, name) == 0) return &sah_families[i];
    }
    return NULL;
}

const char *sah_family_names(void)
{
    return "chatml, llama2, llama3, llama3.1, mistral, vicuna, zephyr, organism";
}

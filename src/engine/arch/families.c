/* SPDX-License-Identifier: MIT */
/* Every family that this version runs. */

#include <stdio.h>
#include <string.h>

#include "engine/arch/arch.h"

static const struct dn_arch *const families[] = {
	&dn_arch_llama,	 &dn_arch_qwen2,   &dn_arch_qwen3,	   &dn_arch_qwen3moe,
	&dn_arch_qwen35, &dn_arch_gemma2,  &dn_arch_gemma3,	   &dn_arch_gemma4,
	&dn_arch_phi3,	 &dn_arch_granite, &dn_arch_granitehybrid, &dn_arch_smollm3,
	&dn_arch_lfm2,	 &dn_arch_bert,	   &dn_arch_nomic_bert,
};

const struct dn_arch *dn_arch_find(struct dn_text name)
{
	for (size_t i = 0; i < DN_ARRAY_SIZE(families); i++)
		if (strlen(families[i]->name) == name.size &&
		    memcmp(families[i]->name, name.data, name.size) == 0)
			return families[i];
	return NULL;
}

void dn_arch_list(char *out, size_t size)
{
	size_t used = 0;

	out[0] = '\0';
	for (size_t i = 0; i < DN_ARRAY_SIZE(families) && used < size; i++)
		used += (size_t)snprintf(out + used, size - used, "%s%s", i ? ", " : "",
					 families[i]->name);
}

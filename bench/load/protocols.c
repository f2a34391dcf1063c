/* The table of protocols. */
#include <string.h>

#include "protocol.h"

static const struct protocol *const table[] = {&bolt_protocol, &dubbo_protocol, &http_protocol};

const struct protocol *find_protocol(const char *name) {
  for (size_t i = 0; i < sizeof table / sizeof *table; i++)
    if (strcmp(table[i]->name, name) == 0) return table[i];
  return NULL;
}

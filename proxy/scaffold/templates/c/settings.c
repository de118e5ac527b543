// A reader for JSON as the proxy writes it: without faults and without white space.

#include "settings.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
  const uint8_t *at, *end;
} reader;

static bool take(reader *json, char expected) {
  bool there = json->at < json->end && *json->at == (uint8_t)expected;
  if (there) json->at++;
  return there;
}

static uint32_t hexadecimal(reader *json) {
  uint32_t value = 0;
  for (int i = 0; i < 4 && json->at < json->end; i++, json->at++) {
    uint8_t digit = *json->at;
    value = value << 4 | (digit <= '9' ? digit - '0' : (digit | 0x20) - 'a' + 10);
  }
  return value;
}

static uint8_t *put(uint8_t *to, uint32_t code) {
  if (code < 0x80) {
    *to++ = code;
  } else if (code < 0x800) {
    *to++ = 0xc0 | code >> 6;
    *to++ = 0x80 | (code & 0x3f);
  } else if (code < 0x10000) {
    *to++ = 0xe0 | code >> 12;
    *to++ = 0x80 | (code >> 6 & 0x3f);
    *to++ = 0x80 | (code & 0x3f);
  } else {
    *to++ = 0xf0 | code >> 18;
    *to++ = 0x80 | (code >> 12 & 0x3f);
    *to++ = 0x80 | (code >> 6 & 0x3f);
    *to++ = 0x80 | (code & 0x3f);
  }
  return to;
}

// A text; false if it is something else. No escape is shorter than what it stands for.
static bool read_text(reader *json, plugin_string_t *text) {
  if (!take(json, '"')) return false;
  text->ptr = malloc(json->end - json->at + 1);
  uint8_t *to = text->ptr;
  while (json->at < json->end && *json->at != '"') {
    if (*json->at != '\\') {
      *to++ = *json->at++;
      continue;
    }
    json->at++;
    uint8_t escape = *json->at++;
    const char *plain = strchr("b\bf\fn\nr\rt\t", escape);
    if (escape == 'u') {
      uint32_t code = hexadecimal(json);
      if (code >= 0xd800 && code < 0xdc00) {
        json->at += 2;
        code = 0x10000 + ((code - 0xd800) << 10) + (hexadecimal(json) - 0xdc00);
      }
      to = put(to, code);
    } else {
      *to++ = plain ? (uint8_t)plain[1] : escape;
    }
  }
  text->len = to - text->ptr;
  return take(json, '"');
}

static bool read_list(reader *json, plugin_list_string_t *list) {
  list->ptr = NULL;
  list->len = 0;
  if (!take(json, '[')) return false;
  while (!take(json, ']')) {
    plugin_string_t text;
    if (!read_text(json, &text)) return false;
    list->ptr = realloc(list->ptr, sizeof text * (list->len + 1));
    list->ptr[list->len++] = text;
    take(json, ',');
  }
  return true;
}

static plugin_string_t as_text(const char *chars) {
  plugin_string_t text;
  plugin_string_set(&text, chars);
  return text;
}

bool settings_read(plugin_string_t *json, const char *key, plugin_list_string_t *list, plugin_string_t *error) {
  reader reader = {json->ptr, json->ptr + json->len};
  bool there = false;
  take(&reader, '{');
  while (!take(&reader, '}')) {
    plugin_string_t name;
    if (!read_text(&reader, &name)) break;
    take(&reader, ':');
    if (name.len != strlen(key) || memcmp(name.ptr, key, name.len) != 0) {
      settings_say(error, name, as_text(": there is no such key"));
      plugin_string_free(&name);
      return false;
    }
    plugin_string_free(&name);
    there = read_list(&reader, list);
    if (!there) break;
    take(&reader, ',');
  }
  if (!there) settings_say(error, as_text(key), as_text(": write a list of texts in quotation marks"));
  return there;
}

void settings_say(plugin_string_t *all, plugin_string_t first, plugin_string_t second) {
  all->len = first.len + second.len;
  all->ptr = malloc(all->len + 1);
  memcpy(all->ptr, first.ptr, first.len);
  memcpy(all->ptr + first.len, second.ptr, second.len);
}

// Closes some paths and marks the requests that pass.

import { pathPatterns, matchPath } from "tidegate:policy/matching@0.2.0";
import { respond, setHeader } from "tidegate:policy/request@0.2.0";

// The `[config]` table of {{name}}.toml; operators read these descriptions.
const schema = {
  type: "object",
  additionalProperties: false,
  required: ["closed"],
  properties: {
    closed: {
      type: "array",
      items: { type: "string" },
      description: "Globs over the path. Who asks for one of these gets 403.",
    },
  },
};

let closed;

export const lifecycle = {
  describe() {
    return [
      ["name", "{{name}}"],
      ["version", "0.1.0"],
      ["description", "Closes some paths and marks the requests that pass"],
      ["config-schema", JSON.stringify(schema)],
    ];
  },

  // A text that is thrown refuses the configuration; the key at fault stands before the first colon.
  configure(text) {
    const config = JSON.parse(text);
    for (const key of Object.keys(config)) {
      if (!(key in schema.properties)) throw `${key}: there is no such key; write "closed"`;
    }
    if (!Array.isArray(config.closed) || !config.closed.every((glob) => typeof glob === "string")) {
      throw `closed: write a list of globs, such as ["/internal/**"]`;
    }
    try {
      closed = pathPatterns("glob", config.closed, false);
    } catch (error) {
      throw `closed${error.message}`; // it begins with the index: `[1]: …`
    }
  },
};

export const requestPhase = {
  onRequest() {
    if (matchPath(closed) !== null) {
      respond(403, [["content-type", "text/plain; charset=utf-8"]], "closed\n");
      return "respond";
    }
    setHeader("x-checked-by", "{{name}}");
    return "next";
  },
};

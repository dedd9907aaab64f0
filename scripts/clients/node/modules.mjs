// Node looks for packages beside a program: this one finds them where they were installed.
import { createRequire, register } from "node:module";
import { pathToFileURL } from "node:url";

const from = pathToFileURL(`${process.env.STORY_TOOLS}/node/index.mjs`).href;
const hooks = `export const resolve = (name, context, next) => {
  const ours = !context.parentURL?.includes("/node_modules/") && !/^[./]|^(node|file):/.test(name);
  return next(name, ours ? { ...context, parentURL: "${from}" } : context);
};`;
register(`data:text/javascript,${encodeURIComponent(hooks)}`);
globalThis.require = createRequire(from);

// Coloured code. The highlighter and its grammars are loaded when the first code of a language is shown.
import { shallowRef } from 'vue';

const GRAMMARS = {
  bash: () => import('shiki/langs/bash.mjs'),
  c: () => import('shiki/langs/c.mjs'),
  cpp: () => import('shiki/langs/cpp.mjs'),
  csharp: () => import('shiki/langs/csharp.mjs'),
  css: () => import('shiki/langs/css.mjs'),
  diff: () => import('shiki/langs/diff.mjs'),
  docker: () => import('shiki/langs/docker.mjs'),
  go: () => import('shiki/langs/go.mjs'),
  html: () => import('shiki/langs/html.mjs'),
  java: () => import('shiki/langs/java.mjs'),
  javascript: () => import('shiki/langs/javascript.mjs'),
  json: () => import('shiki/langs/json.mjs'),
  jsx: () => import('shiki/langs/jsx.mjs'),
  kotlin: () => import('shiki/langs/kotlin.mjs'),
  markdown: () => import('shiki/langs/markdown.mjs'),
  php: () => import('shiki/langs/php.mjs'),
  python: () => import('shiki/langs/python.mjs'),
  ruby: () => import('shiki/langs/ruby.mjs'),
  rust: () => import('shiki/langs/rust.mjs'),
  sql: () => import('shiki/langs/sql.mjs'),
  swift: () => import('shiki/langs/swift.mjs'),
  toml: () => import('shiki/langs/toml.mjs'),
  tsx: () => import('shiki/langs/tsx.mjs'),
  typescript: () => import('shiki/langs/typescript.mjs'),
  vue: () => import('shiki/langs/vue.mjs'),
  xml: () => import('shiki/langs/xml.mjs'),
  yaml: () => import('shiki/langs/yaml.mjs'),
};
const ALIASES = {
  'c++': 'cpp', 'c#': 'csharp', cs: 'csharp', dockerfile: 'docker', golang: 'go', htm: 'html', js: 'javascript', kt: 'kotlin',
  md: 'markdown', mjs: 'javascript', pgsql: 'sql', postgresql: 'sql', py: 'python', rb: 'ruby', rs: 'rust', sh: 'bash',
  shell: 'bash', svg: 'xml', ts: 'typescript', yml: 'yaml', zsh: 'bash',
};
/** For one line: the first one compiles the grammar, and what is not done by then would stay without colours. */
const LIMIT_MS = 5000;
const THEMES = { light: 'github-light-high-contrast', dark: 'github-dark-high-contrast' };

let starting;
async function start() {
  const [{ createHighlighterCore }, { createJavaScriptRegexEngine }, light, dark] = await Promise.all([
    import('shiki/core'),
    import('shiki/engine/javascript'),
    import('shiki/themes/github-light-high-contrast.mjs'),
    import('shiki/themes/github-dark-high-contrast.mjs'),
  ]);
  return createHighlighterCore({
    themes: [light.default, dark.default],
    langs: [],
    engine: createJavaScriptRegexEngine({ forgiving: true }),
  });
}

const loaded = new Map();

/** A function from code to lines of tokens for a language, once it is loaded; `undefined` for a language that is not known. */
export function useHighlighter(language) {
  const name = ALIASES[language?.toLowerCase()] ?? language?.toLowerCase();
  const load = GRAMMARS[name];
  if (!load) return shallowRef();
  let highlight = loaded.get(name);
  if (!highlight) {
    highlight = shallowRef();
    loaded.set(name, highlight);
    starting ??= start();
    Promise.all([starting, load()]).then(async ([highlighter, grammar]) => {
      await highlighter.loadLanguage(grammar.default);
      highlight.value = (code) => highlighter.codeToTokens(code, {
        lang: name, themes: THEMES, defaultColor: false, tokenizeTimeLimit: LIMIT_MS,
      }).tokens;
    }).catch(() => { // without colours, then; the next code tries again
      loaded.delete(name);
      starting = undefined;
    });
  }
  return highlight;
}

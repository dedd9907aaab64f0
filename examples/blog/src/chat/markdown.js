// Markdown as the page shows it: CommonMark with tables, without HTML and without Comark's own components and attributes,
// so that a reply can bring text and links and nothing else.
import { createParse, defineComarkPlugin } from '@comark/vue/parse';
import breaks from '@comark/vue/plugins/breaks';

const LINKS = /^(https?:|mailto:)/i;
const BLOCKS = new Set(['p', 'ul', 'ol', 'li', 'blockquote', 'h1', 'h2', 'h3', 'h4', 'h5', 'h6', 'td', 'th', 'table']);
const KEPT = {
  ol: ['start'],
  pre: ['language'],
  td: ['style', 'align'],
  th: ['style', 'align'],
};

const kept = (tag, props) => Object.fromEntries(Object.entries(props ?? {}).filter(([name]) => KEPT[tag]?.includes(name)));

/** A picture of another site is shown as a link: its address, which the model chose, could carry the chat away. */
const pictureLink = ({ src, alt }) => (LINKS.test(src ?? '')
  ? ['a', outside(src), alt || 'Picture']
  : ['span', {}, alt || 'Picture']);

/** The box of a task: shown as it is, for reading. */
function checkBox(props) {
  const isDone = String(props[':checked'] ?? props.checked ?? false) !== 'false';
  return ['input', { type: 'checkbox', disabled: true, checked: isDone, 'aria-label': isDone ? 'Done' : 'To do' }];
}

const outside = (href) => ({ href, target: '_blank', rel: 'noopener noreferrer nofollow' });

function safe(node) {
  if (typeof node === 'string') return node;
  const [tag, props, ...children] = node;
  if (tag === null || tag === 'component') return ''; // a comment; a definition of a link
  if (tag === 'input') return checkBox(props);
  if (tag === 'img') return pictureLink(props);
  if (tag === 'pre') return ['pre', { ...kept('pre', props), code: textOf(node) }];
  const inner = children.map(safe);
  if (tag === 'th' && !inner.length) return ['td', {}]; // a corner
  if (tag === 'a') return LINKS.test(props.href ?? '') ? ['a', outside(props.href), ...inner] : ['span', {}, ...inner];
  return [tag, { ...kept(tag, props), ...(BLOCKS.has(tag) ? { dir: 'auto' } : {}) }, ...inner];
}

const textOf = (node) => (typeof node === 'string' ? node : node.slice(2).map(textOf).join(''));

/** Comark's own syntax cannot be left out, only switched off. */
const SYNTAX = [
  'comark_block_shorthand', 'comark_block', 'comark_block_slots', 'comark_inline_span', 'comark_inline_component', 'comark_inline_props',
];

const withoutSyntax = defineComarkPlugin(() => ({
  name: 'without-syntax',
  markdownItPlugins: [(parser) => parser.disable(SYNTAX, true)],
}));

const plain = defineComarkPlugin(() => ({
  name: 'plain',
  post(state) {
    state.tree.nodes = state.tree.nodes.map(safe);
  },
}));

/** A parser for one text that may grow. */
export function createMarkdown() {
  const parse = createParse({
    html: false,
    autoUnwrap: false,
    plugins: [withoutSyntax(), plain(), breaks()],
  });
  // The empty line keeps a rule at the beginning from being taken for YAML.
  return (text) => parse(`\n${text}`);
}

// Files that go with a message, within what the API takes: a picture is made small enough, a text becomes a part of its own.
// What is too large for that is uploaded, where the stack has uploads.

/** Most characters of a text part (docs/api.md). */
export const MAX_TEXT = 16_000;
/** Most parts of a message. */
export const MAX_PARTS = 20;
/** All parts of a message are at most 256 KiB; the text and the rest of the JSON need their share. */
const MAX_PICTURES_BYTES = 200 * 1024;
const PICTURES = ['image/png', 'image/jpeg', 'image/gif', 'image/webp'];
const EDGES = [1600, 1280, 1024, 768, 512, 384];
const PREVIEW_EDGE = 80;
/** Most bytes of a picture that every provider takes; Amazon Bedrock takes 3.75 MB. */
const MAX_UPLOADED_PICTURE = 3_700_000;
/** Models look at a picture with fewer pixels than that. */
const UPLOADED_EDGES = [2560, 1600];
/** What is too large for a part of its own. Every other text is a plain one. */
const TEXT_TYPES = { csv: 'text/csv', json: 'application/json', markdown: 'text/markdown', md: 'text/markdown' };

const dataUrl = (blob) => new Promise((resolve, reject) => {
  const reader = new FileReader();
  reader.onload = () => resolve(reader.result);
  reader.onerror = () => reject(reader.error);
  reader.readAsDataURL(blob);
});

/** The picture, at most `edge` pixels wide and high, on white. */
function drawn(image, edge) {
  const canvas = document.createElement('canvas');
  const scale = Math.min(1, edge / Math.max(image.width, image.height));
  canvas.width = Math.max(1, Math.round(image.width * scale));
  canvas.height = Math.max(1, Math.round(image.height * scale));
  const context = canvas.getContext('2d');
  context.fillStyle = '#fff';
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  return canvas;
}

/** The same as a JPEG, as a `data:` URL. */
const jpeg = (image, edge) => drawn(image, edge).toDataURL('image/jpeg', 0.8);

/** The largest JPEG of the picture that fits into `limit` bytes of base64. */
function fitted(image, limit) {
  for (const edge of EDGES) {
    const url = jpeg(image, edge);
    if (url.length <= limit) return { url, mediaType: 'image/jpeg' };
  }
  return undefined;
}

/** The picture as it is uploaded: itself, or a JPEG where it is too large for a provider; `undefined`: it is too large all the same. */
async function uploadable(file, image, { maxBytes, mediaTypes }) {
  const most = Math.min(maxBytes, MAX_UPLOADED_PICTURE);
  if (mediaTypes.includes(file.type) && file.size <= most) return { mediaType: file.type };
  for (const edge of mediaTypes.includes('image/jpeg') ? UPLOADED_EDGES : []) {
    const smaller = await new Promise((resolve) => { drawn(image, edge).toBlob(resolve, 'image/jpeg', 0.85); });
    if (smaller && smaller.size <= most) return { mediaType: 'image/jpeg', file: smaller };
  }
  return undefined;
}

/** The picture as it is if it fits into `limit` bytes of base64; else it is uploaded; where it cannot be, it is made to fit.
 *  Rejected: it is no picture. */
async function picture(file, limit, uploads) {
  const whole = file.size < limit ? await dataUrl(file) : '';
  if (whole && whole.length <= limit) return { part: { url: whole, mediaType: file.type } };
  const image = await createImageBitmap(file);
  const upload = uploads && await uploadable(file, image, uploads);
  return upload ? { ...upload, preview: jpeg(image, PREVIEW_EDGE) } : { part: fitted(image, limit) };
}

const HEAD = /^Attached file `([^`\n]+)`:\n\n(`{3,})[^\n`]*\n([\s\S]*)\n\2$/;

/** A file as a text part that a model and a reader understand alike. */
function textPart(name, text) {
  const longest = Math.max(2, ...(text.match(/`+/g) ?? []).map((run) => run.length));
  const fence = '`'.repeat(longest + 1);
  const language = name.includes('.') ? name.split('.').pop().replace(/\W/g, '') : '';
  return { type: 'text', text: `Attached file \`${name.replaceAll('`', '\'')}\`:\n\n${fence}${language}\n${text}\n${fence}` };
}

/** `{name, text}` if a text part is an attached file. */
export function attachedFile(part) {
  const found = part.type === 'text' && HEAD.exec(part.text);
  return found ? { name: found[1], text: found[3] } : undefined;
}

export const isAttachment = (part) => part.type === 'file' || Boolean(attachedFile(part));

/** The text in the file's first `limit` bytes; `undefined` if the file is not text. */
async function textOf(file, limit) {
  const bytes = await file.slice(0, limit).arrayBuffer();
  try {
    // The limit may have cut a character.
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes, { stream: limit < file.size });
    return text.includes('\0') ? undefined : text;
  } catch {
    return undefined;
  }
}

const megabytes = (tenths) => `${(tenths / 10).toLocaleString('en')} MB`;

/** The file as an upload, or a sentence why it cannot be one. */
function uploaded(file, mediaType, { maxBytes }) {
  if (file.size <= maxBytes) return { mediaType };
  const [size, most] = [Math.ceil(file.size * 10 / 2 ** 20), Math.floor(maxBytes * 10 / 2 ** 20)].map(megabytes);
  return { refusal: `“${file.name}” is too large: it has ${size}, and a file may have ${most}.` };
}

/**
 * The file as a message's part, or what it is uploaded as.
 * @param {File} file
 * @param {object[]} parts the message's other attachments, as far as they are parts
 * @param {number} count how many others there are
 * @param {{maxBytes: number, mediaTypes: string[]} | null} uploads what an upload may be; null: there are none
 * @returns {Promise<{part: object} | {mediaType: string, file?: Blob, preview?: string} | {refusal: string}>} the part;
 *   the type of an upload, what is uploaded in the file's place, and a small picture of it as a `data:` URL; or a sentence why it is neither
 */
export async function attach(file, parts, count, uploads) {
  const { name, type } = file;
  if (count >= MAX_PARTS - 1) return { refusal: `A message takes ${MAX_PARTS - 1} attachments.` };
  if (!file.size) return { refusal: `“${name}” is empty.` };
  if (PICTURES.includes(type)) {
    const used = parts.reduce((sum, part) => sum + (part.url?.length ?? 0), 0);
    const found = await picture(file, MAX_PICTURES_BYTES - used, uploads).catch(() => undefined);
    if (!found) return { refusal: `“${name}” is not a picture that can be read.` };
    if (found.mediaType) return found;
    if (!found.part) return { refusal: `“${name}” does not fit into this message beside its other pictures.` };
    return { part: { type: 'file', filename: name, ...found.part } };
  }
  const takesPdf = Boolean(uploads?.mediaTypes.includes('application/pdf'));
  if (takesPdf && type === 'application/pdf') return uploaded(file, type, uploads);
  const text = await textOf(file, uploads ? uploads.maxBytes : MAX_TEXT * 4 + 1);
  if (text === undefined) {
    return { refusal: `“${name}” is neither a picture (PNG, JPEG, GIF, WebP)${takesPdf ? ', a PDF' : ''} nor a text.` };
  }
  if (!text.trim()) return { refusal: `“${name}” is empty.` };
  if (text.length <= MAX_TEXT) {
    const part = textPart(name, text.replace(/\n$/, ''));
    if (part.text.length <= MAX_TEXT) return { part };
  }
  if (!uploads) return { refusal: `“${name}” has more than ${MAX_TEXT.toLocaleString('en')} characters.` };
  const own = TEXT_TYPES[name.split('.').at(-1).toLowerCase()];
  return uploaded(file, uploads.mediaTypes.includes(own) ? own : 'text/plain', uploads);
}

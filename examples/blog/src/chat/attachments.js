// Files that go with a message, within what the API takes: a picture is made small enough, a text becomes a part of its own.

/** Most characters of a text part (docs/api.md). */
export const MAX_TEXT = 16_000;
/** Most parts of a message. */
export const MAX_PARTS = 20;
/** All parts of a message are at most 256 KiB; the text and the rest of the JSON need their share. */
const MAX_PICTURES_BYTES = 200 * 1024;
const PICTURES = ['image/png', 'image/jpeg', 'image/gif', 'image/webp'];
const EDGES = [1600, 1280, 1024, 768, 512, 384];

const dataUrl = (blob) => new Promise((resolve, reject) => {
  const reader = new FileReader();
  reader.onload = () => resolve(reader.result);
  reader.onerror = () => reject(reader.error);
  reader.readAsDataURL(blob);
});

/** The picture as it is if it fits into `limit` bytes of base64, else the largest JPEG of it that does. */
async function fitted(file, limit) {
  const whole = await dataUrl(file);
  if (whole.length <= limit) return { url: whole, mediaType: file.type };
  const image = await createImageBitmap(file);
  const canvas = document.createElement('canvas');
  for (const edge of EDGES) {
    const scale = Math.min(1, edge / Math.max(image.width, image.height));
    canvas.width = Math.max(1, Math.round(image.width * scale));
    canvas.height = Math.max(1, Math.round(image.height * scale));
    const context = canvas.getContext('2d');
    context.fillStyle = '#fff';
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(image, 0, 0, canvas.width, canvas.height);
    const url = canvas.toDataURL('image/jpeg', 0.8);
    if (url.length <= limit) return { url, mediaType: 'image/jpeg' };
  }
  return undefined;
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

/**
 * The file as a message's part.
 * @param {File} file
 * @param {object[]} others the message's other attachments
 * @returns {Promise<{part?: object, refusal?: string}>} the part, or a sentence why there is none
 */
export async function attach(file, others) {
  if (others.length >= MAX_PARTS - 1) return { refusal: `A message takes ${MAX_PARTS - 1} attachments.` };
  if (PICTURES.includes(file.type)) {
    const used = others.reduce((sum, part) => sum + (part.url?.length ?? 0), 0);
    const picture = await fitted(file, MAX_PICTURES_BYTES - used).catch(() => null);
    if (picture === null) return { refusal: `“${file.name}” is not a picture that can be read.` };
    if (!picture) return { refusal: `“${file.name}” does not fit into this message beside its other pictures.` };
    return { part: { type: 'file', filename: file.name, ...picture } };
  }
  const text = new Uint8Array(await file.slice(0, MAX_TEXT * 4 + 1).arrayBuffer());
  let content;
  try {
    content = new TextDecoder('utf-8', { fatal: true }).decode(text);
  } catch {
    return { refusal: `“${file.name}” is neither a picture (PNG, JPEG, GIF, WebP) nor a text.` };
  }
  if (content.includes('\0')) return { refusal: `“${file.name}” is neither a picture (PNG, JPEG, GIF, WebP) nor a text.` };
  if (!content.trim()) return { refusal: `“${file.name}” is empty.` };
  const part = textPart(file.name, content.replace(/\n$/, ''));
  if (part.text.length > MAX_TEXT) return { refusal: `“${file.name}” has more than ${MAX_TEXT.toLocaleString('en')} characters.` };
  return { part };
}

// A chat as a file.

/** Hands the visitor a file. */
export function download(name, text, type) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const link = Object.assign(document.createElement('a'), { href: url, download: name });
  link.click();
  URL.revokeObjectURL(url);
}

const textOf = (message) => message.parts
  .map((part) => {
    if (part.type === 'text') return part.text;
    return part.type === 'file' ? `[${part.filename ?? part.mediaType}]` : '';
  })
  .filter(Boolean).join('\n\n');

/** The whole chat as Markdown, whatever of it is shown. */
export async function chatAsMarkdown(api, chat) {
  let { messages, prevCursor } = await api.chat(chat.id);
  while (prevCursor !== null) {
    const page = await api.messages(chat.id, prevCursor);
    messages = [...page.messages, ...messages];
    prevCursor = page.prevCursor;
  }
  const turns = messages.map((message) => `## ${message.role === 'user' ? 'You' : 'Assistant'}\n\n${textOf(message)}`);
  return [`# ${chat.title}`, ...turns].join('\n\n').concat('\n');
}

/** A file's name that every system takes. */
export const fileName = (title) => title.replace(/[^\p{L}\p{N}]+/gu, '-').replace(/^-|-$/g, '').slice(0, 60) || 'chat';

/**
 * Words and phrases that no text of this repository uses, and what to write instead. Matched without regard
 * to case.
 */
export const replacedWords: readonly { readonly pattern: string; readonly write: string }[] = [
  { pattern: String.raw`\bcan not\b`, write: 'cannot' },
  {
    pattern: String.raw`\b(?:made|make|makes|make them|begun|start|set up) anew\b`,
    write: 'recreated, again',
  },
  { pattern: String.raw`\b(?:is|are|was|were) told of\b`, write: 'is reported' },
  { pattern: String.raw`\btells? of\b`, write: 'report' },
  { pattern: String.raw`\b(?:plugins?|programs?) of others\b`, write: 'third-party plugins' },
  { pattern: String.raw`\bstands? there\b`, write: 'is there, exists' },
  { pattern: String.raw`\bglass is broken\b`, write: 'break-glass is in force' },
  { pattern: String.raw`\bof nobody\b`, write: 'unowned' },
  { pattern: String.raw`\bunless told\b`, write: 'by default' },
  { pattern: String.raw`\bfor want of\b`, write: 'because … is missing' },
  { pattern: String.raw`\bat hand\b`, write: 'available' },
];

/** How no comment begins: "Of two requests, the first …" has to be read twice. */
export const commentBeginnings: readonly string[] = ['Of '];

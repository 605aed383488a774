/** A word or phrase that no text of this repository uses. */
export interface ReplacedWord {
  /** A regular expression. A space in it matches any white space. */
  readonly pattern: string;
  /** The advice: words to write instead. */
  readonly write: string;
  /** A text that the linter must report. */
  readonly reported: string;
  /** A similar text that is fine. */
  readonly fine?: string;
  /**
   * The pattern is looked for only where a sentence begins, or only where a comment of a source begins, with
   * its upper and lower case. Without it, a pattern is looked for everywhere and without regard to case.
   */
  readonly opens?: 'sentence' | 'comment';
}

/** The words of prose.ts. Each row is tested with its own texts (prose.test.ts). */
export const replacedWords: readonly ReplacedWord[] = [
  // Old or rare phrases.
  { pattern: String.raw`\bcan not\b`, write: '"cannot"', reported: 'it can\nnot start' },
  { pattern: String.raw`\banew\b`, write: '"again", "recreated"', reported: 'the link is made anew' },
  {
    pattern: String.raw`\b(?:is|are|was|were|be|been|being|gets?) told\b`,
    write: '"is reported", "is asked to"',
    reported: 'the loss is told',
    fine: 'it reports the loss',
  },
  {
    pattern: String.raw`\btells? (?:of|that|what|which|how|whether|why|where|when)\b`,
    write: '"reports"',
    reported: 'the answer tells what is wrong',
    fine: 'tell the kernel',
  },
  {
    pattern: String.raw`\bunless told\b`,
    write: '"by default"',
    reported: 'no trace is written unless told',
  },
  {
    pattern: String.raw`\bfor want of\b`,
    write: '"because … is missing"',
    reported: 'it fails for want of memory',
  },
  { pattern: String.raw`\bat hand\b`, write: '"available"', reported: 'the key is at hand' },
  { pattern: String.raw`\bdear(?:er|est)?\b`, write: '"expensive"', reported: 'a fork is dear' },
  {
    pattern: String.raw`\b(?:is|are|was|were|seems?) (?:not )?right\b`,
    write: '"valid", "correct"',
    reported: 'the name is not right',
    fine: 'the right side is empty',
  },
  {
    pattern: String.raw`\b(?:stands?|stood|standing) (?:at|in|on|there|here|beside|below|above|behind|before)\b`,
    write: '"is", "exists"',
    reported: 'the rules stand in the table',
    fine: '`*` stands for any characters',
  },
  {
    pattern: String.raw`\b(?:of|to|by) nobody\b|\bnobody[’']s\b`,
    write: '"unowned", "of no user"',
    reported: 'a file of nobody',
    fine: 'nobody listens there',
  },
  {
    pattern: String.raw`\bglass is broken\b|\bbroken glass\b`,
    write: '"break-glass"',
    reported: 'the glass is broken',
  },
  {
    pattern: String.raw`\b(?:a|an|the|no|any|some) strangers?\b`,
    write: '"an unknown client"',
    reported: 'of a stranger',
  },
  { pattern: String.raw`\bcalmly\b`, write: 'what it does', reported: 'it ends calmly' },
  // Names that the field has other terms for.
  {
    pattern: String.raw`\b(?:plugins?|programs?|files|chains|rules|tables|links) of others\b`,
    write: '"third-party plugins"',
    reported: 'plugins of others',
  },
  {
    pattern: String.raw`\b(?:network|host|same|other|another|former|each|every|this|its) realms?\b|\b(?:in|of) (?:a|the) realm\b`,
    write: '"host network namespace"',
    reported: 'the leases of the realm',
    fine: 'credentials for the realm of a challenge',
  },
  { pattern: String.raw`\bunwell\b`, write: '"unhealthy"', reported: 'the backend is unwell' },
  { pattern: String.raw`\bdoom(?:s|ed)?\b`, write: '"teardown"', reported: 'doomed links' },
  { pattern: String.raw`\bdepartures?\b`, write: '"teardown"', reported: 'the departure of a pod' },
  { pattern: String.raw`\bdesks?\b`, write: '"handler", "listener"', reported: 'the desk of the thread' },
  { pattern: String.raw`\bshel(?:f|ves)\b`, write: '"store"', reported: 'blobs on the shelf' },
  { pattern: String.raw`\babsences\b`, write: '"negative cache"', reported: 'a memory of absences' },
  { pattern: String.raw`\bglanc(?:e|es|ed|ing)\b`, write: '"quick stat"', reported: 'a glance at the file' },
  // Sentences that have to be read twice.
  {
    pattern: String.raw`Of (?!course\b)`,
    write: 'a subject and a verb first',
    reported: 'Of two requests, the first counts',
    fine: 'the first of two requests counts',
    opens: 'sentence',
  },
  {
    pattern: String.raw`What [^.;:?!]{1,120} (?:is|are|was|were) what\b`,
    write: 'a subject and a verb first',
    reported: 'What is stored is what was signed',
    fine: 'What was signed: the digest of the index',
    opens: 'sentence',
  },
  {
    pattern: String.raw`What\b`,
    write: 'a noun or a verb first, such as "The address that …" or "Returns …"',
    reported: '/** What the driver chose. */',
    fine: "/** The address that the driver chose. What it refused is logged. */ print('What is this?');",
    opens: 'comment',
  },
];

import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join, posix } from 'node:path';

const root = join(import.meta.dirname, '..');
/** Files that a page shows. A browser shows any other file as plain text. */
const image = /\.(?:svg|png)$/;
const outside = /^(?:[a-z]+:|#)/;

/** The folder from which VitePress builds the site. */
export interface Pages {
  /**
   * Writes a page of Markdown at `path`, such as `reference/metrics.md`. Its links are links between pages.
   */
  write(path: string, text: string): void;
  /**
   * Adds a document of the repository, with its links rewritten. A linked document becomes a page too, and
   * any other linked file a plain text of the site, or an image.
   */
  add(file: string): void;
  /**
   * Returns text of a document of the repository as a page has it: without comments, with its links
   * rewritten.
   */
  rewrite(file: string, text: string): string;
}

/** Empties the folder of pages. */
export function openPages(): Pages {
  const folder = join(import.meta.dirname, 'vitepress/pages');
  rmSync(folder, { recursive: true, force: true });
  const added = new Set<string>();
  const write = (path: string, text: string): void => {
    const target = join(folder, path);
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(target, text);
  };

  /**
   * Returns the address of a file of the repository on the site; undefined for a folder that has no document.
   */
  const addressOf = (file: string): string | undefined => {
    if (!existsSync(join(root, file))) throw new Error(`${file} is linked, and does not exist`);
    if (statSync(join(root, file)).isDirectory()) {
      const readme = posix.join(file, 'README.md');
      return existsSync(join(root, readme)) ? addressOf(readme) : undefined;
    }
    const schema = /^docs\/schemas\/(.+)\.json$/.exec(file);
    if (schema !== null) return `/reference/schemas/${schema[1] ?? ''}.md`;
    if (file.endsWith('.md')) {
      add(file);
      return `/${pageOf(file)}`;
    }
    const published = image.test(file) ? file : `${file}.txt`;
    if (!added.has(file)) {
      added.add(file);
      const target = join(folder, 'public/source', published);
      mkdirSync(dirname(target), { recursive: true });
      cpSync(join(root, file), target);
    }
    return `/source/${published}`;
  };

  const add = (file: string): void => {
    if (added.has(file)) return;
    added.add(file);
    const page = pageOf(file);
    const text = rewrite(file, readFileSync(join(root, file), 'utf8'));
    // The search finds what documents say, and not each folder's README.md.
    write(page, page.startsWith('source/') ? `---\nsearch: false\n---\n\n${text}` : text);
  };

  const rewrite = (file: string, text: string): string =>
    outsideOfCode(text, (part) =>
      part
        .replaceAll(/<!--[^]*?-->/g, '')
        .replaceAll(/\[([^\]]*)\]\(([^)\s]+)\)/g, (whole, label: string, target: string) => {
          if (outside.test(target)) return whole;
          const [path = '', anchor] = target.split('#');
          const address = addressOf(posix.join(posix.dirname(file), path));
          return address === undefined
            ? label
            : `[${label}](${address}${anchor === undefined ? '' : `#${anchor}`})`;
        }),
    );
  return { write, add, rewrite };
}

/**
 * Returns the path of the page of a document: `docs/x.md` is `x.md`, and `a/README.md` is
 * `source/a/index.md`.
 */
export function pageOf(file: string): string {
  const page = file.startsWith('docs/') ? file.slice('docs/'.length) : `source/${file}`;
  return page.replace(/(^|\/)README\.md$/, '$1index.md');
}

/** Changes the text outside of fenced blocks and code spans. */
function outsideOfCode(text: string, change: (part: string) => string): string {
  const code = /^( *)(`{3,}|~{3,})[^]*?^\1\2 *$|`[^`\n]+`/gm;
  // A link may contain a code span: spans are hidden during the change, and not cut out.
  const hidden: string[] = [];
  const marked = text.replaceAll(code, (block) => `\u0000${hidden.push(block) - 1}\u0000`);
  return change(marked).replaceAll(/\u0000(\d+)\u0000/g, (_, index: string) => hidden[Number(index)] ?? '');
}

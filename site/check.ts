import { existsSync, globSync, readFileSync, statSync } from 'node:fs';
import { join, posix } from 'node:path';

export interface DeadLink {
  readonly page: string;
  readonly target: string;
  readonly why: string;
}

/**
 * Finds links, pictures, scripts and styles of a built site that lead nowhere: a file that does not exist, or
 * a place that the page does not have. Anything that a page would load from another host is an error too: the
 * site must work without a network. A page that names no icon makes each browser ask for `/favicon.ico`.
 * @param base the path of the site on its server, with a slash at both ends
 */
export function deadLinks(folder: string, base = '/'): DeadLink[] {
  const pages = globSync('**/*.html', { cwd: folder }).sort();
  const texts = new Map(pages.map((page) => [page, readFileSync(join(folder, page), 'utf8')]));
  const ids = new Map(
    [...texts].map(([page, text]) => [
      page,
      new Set([...text.matchAll(/\sid="([^"]*)"/g)].map((match) => match[1] ?? '')),
    ]),
  );
  const found: DeadLink[] = [];
  for (const [page, text] of texts) {
    if (text.includes('<head>') && !text.includes('<link rel="icon"'))
      found.push({
        page,
        target: '/favicon.ico',
        why: 'the page names no icon, so browsers ask for this file',
      });
    for (const { 1: tag = '', 2: raw = '' } of text.matchAll(
      /<(a|img|script|link|source|iframe)\b[^>]*?\s(?:href|src)="([^"]*)"/g,
    )) {
      const target = raw.replaceAll('&amp;', '&');
      const why = problemOf(page, tag, target);
      if (why !== undefined) found.push({ page, target, why });
    }
  }
  return found;

  function problemOf(page: string, tag: string, target: string): string | undefined {
    if (/^(?:[a-z]+:|\/\/)/i.test(target))
      return tag === 'a' || target.startsWith('data:')
        ? undefined
        : 'the page would load it from another host';
    const [address = '', anchor = ''] = target.split('#');
    const [path = ''] = address.split('?');
    if (path.startsWith('/') && !path.startsWith(base)) return `the site is below ${base}`;
    const file =
      path === ''
        ? page
        : fileOf(path.startsWith('/') ? path.slice(base.length) : posix.join(posix.dirname(page), path));
    if (file === undefined) return 'no such file';
    if (anchor === '' || !file.endsWith('.html')) return undefined;
    return ids.get(file)?.has(decodeURIComponent(anchor)) === true ? undefined : 'the page has no such place';
  }

  function fileOf(path: string): string | undefined {
    return [path, `${path}.html`, posix.join(path, 'index.html')].find(
      (name) => existsSync(join(folder, name)) && statSync(join(folder, name)).isFile(),
    );
  }
}

/**
 * Takes pictures of pages of the built site with a headless Chromium, in the light and in the dark theme, and
 * checks them: `sh packaging/node site/screenshots.ts`. The pictures are in site/dist/screenshots.
 */
import { execFile } from 'node:child_process';
import { accessSync, constants, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { accessibilityProblems } from './accessibility.ts';
import { readPicture } from './picture.ts';
import { serveSite } from './server.ts';

export interface Shot {
  /** The page below the folder of the site. */
  readonly page: string;
  /** The height of the picture, in pixels. */
  readonly height: number;
}

/**
 * A page of each type, by the name of its pictures: the entry, a tutorial, long tables, diagrams, generated
 * reference.
 */
const shots: Readonly<Record<string, Shot>> = {
  index: { page: 'index.html', height: 900 },
  tutorial: { page: 'tutorials/first-signed-pod.html', height: 900 },
  guide: { page: 'kubelet.html', height: 1800 },
  architecture: { page: 'architecture.html', height: 2400 },
  errors: { page: 'reference/errors/trust.html', height: 900 },
};
/** The pages whose accessibility is checked: those of the pictures, and one with code. */
const checkedPages = [...Object.values(shots).map(({ page }) => page), 'reference/libraries/trust.html'];
/**
 * The themes by the value of Chromium's setting preferredColorScheme, and the brightness of a page in them.
 */
const themes = {
  light: { setting: 1, hasTheme: (brightness: number) => brightness > 170 },
  dark: { setting: 0, hasTheme: (brightness: number) => brightness < 85 },
} as const;
const width = 1280;
/** More of the picture has one colour only if it shows no text. */
const mostBackground = 0.995;
const limitMs = 120_000;

/** Returns the path of Debian's Chromium; undefined if the package `chromium` is not installed. */
export function findChromium(path = process.env['PATH'] ?? ''): string | undefined {
  return path
    .split(delimiter)
    .map((folder) => join(folder, 'chromium'))
    .find((file) => {
      try {
        accessSync(file, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}

/**
 * Takes the pictures into `screenshots` of the folder of the site, and returns what is wrong with them: a
 * picture that cannot be read, is empty or has the other theme, and files that a page asked for and that do
 * not exist.
 * @param base the path of the site on its server, with a slash at both ends
 */
export async function takeScreenshots(
  chromium: string,
  site: string,
  wanted = shots,
  base = '/',
): Promise<string[]> {
  const problems: string[] = [];
  const out = join(site, 'screenshots');
  rmSync(out, { recursive: true, force: true });
  mkdirSync(out);
  const profile = mkdtempSync(join(tmpdir(), 'portcullis-chromium-'));
  const missing = new Set<string>();
  const server = await serveSite(site, base, missing);
  try {
    for (const [name, { page, height }] of Object.entries(wanted))
      for (const [theme, { setting, hasTheme }] of Object.entries(themes)) {
        const file = join(out, `${name}-${theme}.png`);
        await shoot(chromium, [
          `--user-data-dir=${profile}`,
          `--blink-settings=preferredColorScheme=${setting}`,
          `--window-size=${width},${height}`,
          `--screenshot=${file}`,
          `${server.url}${page}`,
        ]);
        const why = problemOf(file, height, hasTheme);
        if (why !== undefined) problems.push(`the picture of ${page} in the ${theme} theme: ${why}`);
      }
  } finally {
    server.close();
    rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
  }
  return [...problems, ...[...missing].map((path) => `a page asks for ${path}, which does not exist`)];
}

async function shoot(chromium: string, flags: readonly string[]): Promise<void> {
  const common = [
    // The pages are our own, and the sandbox of Chromium does not run as root.
    ...['--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--hide-scrollbars'],
    ...['--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
    // Diagrams are drawn after the page has loaded.
    '--virtual-time-budget=10000',
  ];
  await promisify(execFile)(chromium, [...common, ...flags], { timeout: limitMs, killSignal: 'SIGKILL' });
}

function problemOf(
  file: string,
  height: number,
  hasTheme: (brightness: number) => boolean,
): string | undefined {
  if (!existsSync(file)) return 'Chromium wrote none';
  try {
    const picture = readPicture(readFileSync(file));
    if (picture.width !== width || picture.height !== height)
      return `it has ${picture.width} × ${picture.height} pixels`;
    if (picture.background > mostBackground) return 'it is empty';
    if (!hasTheme(picture.brightness))
      return `it has the other theme: its brightness is ${picture.brightness.toFixed(0)} of 255`;
    return undefined;
  } catch (thrown) {
    return String(thrown);
  }
}

/** Takes the pictures, or writes why it cannot. Returns whether all that could be done is in order. */
export async function checkScreenshots(
  site: string,
  out: NodeJS.WritableStream,
  chromium: string | undefined,
  base = '/',
): Promise<boolean> {
  if (chromium === undefined) {
    out.write('no screenshots: Chromium is not installed (apt-get install chromium)\n');
    return true;
  }
  const problems = [
    ...(await takeScreenshots(chromium, site, shots, base)),
    ...(await accessibilityProblems(chromium, site, checkedPages, base)),
  ];
  for (const problem of problems) out.write(`${problem}\n`);
  if (problems.length === 0)
    out.write('the screenshots are in site/dist/screenshots; the pages are accessible\n');
  return problems.length === 0;
}

if (import.meta.main)
  process.exitCode = (await checkScreenshots(
    join(import.meta.dirname, 'dist'),
    process.stdout,
    findChromium(),
  ))
    ? 0
    : 1;

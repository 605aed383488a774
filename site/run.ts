/**
 * `npm run docs`: builds the documentation site into site/dist, fails on dead links, takes screenshots where
 * Chromium is installed, and runs the commands of the tutorials. `-- --only-build` leaves out the tutorials,
 * which need root.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { deadLinks } from './check.ts';
import { generate } from './generate.ts';
import { checkScreenshots, findChromium } from './screenshots.ts';

const site = import.meta.dirname;
const root = join(site, '..');
/** The package of the generator. Its packages must not be found from the sources beside this file. */
const folder = join(site, 'vitepress');
const out = process.stdout;

/** Installs the generator as package-lock.json pins it, unless it is installed. No package runs a script. */
function install(): void {
  const stamp = join(folder, 'node_modules/.portcullis-stamp');
  const lock = createHash('sha256')
    .update(readFileSync(join(folder, 'package-lock.json')))
    .digest('hex');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === lock) return;
  out.write('installing the generator (npm ci in site/vitepress)\n');
  execFileSync('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'], {
    cwd: folder,
    stdio: 'inherit',
  });
  writeFileSync(stamp, lock);
}

install();
out.write(`${await generate()} pages\n`);
execFileSync(process.execPath, [join(folder, 'node_modules/vitepress/bin/vitepress.js'), 'build', folder], {
  cwd: folder,
  stdio: 'inherit',
});
const dead = deadLinks(join(site, 'dist'));
for (const { page, target, why } of dead) out.write(`dead link in ${page}: ${target}: ${why}\n`);
if (dead.length > 0) process.exit(1);
out.write('no dead links; the site is in site/dist\n');
if (!(await checkScreenshots(join(site, 'dist'), out, findChromium()))) process.exit(1);
if (!process.argv.includes('--only-build'))
  execFileSync(process.execPath, ['--test', '--test-force-exit', 'test/e2e/tutorials.test.ts'], {
    cwd: root,
    stdio: 'inherit',
  });

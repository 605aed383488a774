/**
 * `npm run docs`: builds the documentation site into site/dist, fails on dead links, takes screenshots where
 * Chromium is installed, and runs the commands of the tutorials. `-- --only-build` leaves out the tutorials,
 * which need root. `-- --base /PATH/` builds the site for this path of its server; the default is `/`.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { deadLinks } from './check.ts';
import { generate } from './generate.ts';
import { checkScreenshots, findChromium } from './screenshots.ts';

const site = import.meta.dirname;
const root = join(site, '..');
/** The package of the generator. Its packages must not be found from the sources beside this file. */
const folder = join(site, 'vitepress');
const out = process.stdout;
const {
  values: { base, 'only-build': onlyBuild },
} = parseArgs({ options: { base: { type: 'string', default: '/' }, 'only-build': { type: 'boolean' } } });
if (!/^\/(?:[\w.-]+\/)*$/u.test(base)) {
  process.stderr.write(`--base ${base}: write a path with a slash at both ends, such as /portcullis/\n`);
  process.exit(2);
}

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
const vitepress = join(folder, 'node_modules/vitepress/bin/vitepress.js');
execFileSync(process.execPath, [vitepress, 'build', folder, '--base', base], {
  cwd: folder,
  stdio: 'inherit',
});
const dead = deadLinks(join(site, 'dist'), base);
for (const { page, target, why } of dead) out.write(`dead link in ${page}: ${target}: ${why}\n`);
if (dead.length > 0) process.exit(1);
out.write('no dead links; the site is in site/dist\n');
if (!(await checkScreenshots(join(site, 'dist'), out, findChromium(), base))) process.exit(1);
if (onlyBuild !== true)
  execFileSync(process.execPath, ['--test', '--test-force-exit', 'test/e2e/tutorials.test.ts'], {
    cwd: root,
    stdio: 'inherit',
  });

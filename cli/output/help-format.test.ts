import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Command } from 'commander';
import { formatHelp } from './help-format.ts';

test('the help shows a default that says something, and no empty one', () => {
  const program = new Command('program');
  formatHelp(program);
  const help = program
    .command('list')
    .option('--all', 'also stopped ones', false)
    .option('--name <name>', 'only this one', '')
    .option('--policy <path>', 'policy file', [])
    .option('--annotation <name=value>', 'annotation', (value): object => ({ value }), {})
    .option('--limit <count>', 'at most', '100')
    .option('--from <format>', 'format', 'auto')
    .helpInformation();
  assert.equal(help.match(/\(default: /gu)?.length, 2);
  assert.match(help, /at most \(default: "100"\)/u);
  assert.match(help, /format \(default: "auto"\)/u);
});

test('the help shows a default that is a list as its elements', () => {
  const program = new Command('program');
  formatHelp(program);
  const help = program.command('run').option('--dir <dir...>', 'folders', ['/a', '/b']).helpInformation();
  assert.match(help, /folders \(default: "\/a" "\/b"\)/u);
});

test('the help of a group wraps the descriptions of its commands at 80 columns', () => {
  const program = new Command('program');
  formatHelp(program);
  const group = program.command('network');
  group
    .command('disconnect')
    .description(
      'remove the interface that connect made, and release the addresses that it had on the network',
    )
    .argument('<network>')
    .argument('[target...]')
    .option('--all', 'all of them');
  const lines = group
    .configureOutput({ getOutHelpWidth: () => 80 })
    .helpInformation()
    .split('\n');
  assert.match(lines.join('\n'), /^ {2}disconnect <network> \[target\.\.\.\] {2}remove/mu);
  assert.deepEqual(
    lines.filter(({ length }) => length > 80),
    [],
  );
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Command } from 'commander';
import { leaveOutEmptyDefaults } from './help-format.ts';

test('the help shows a default that says something, and no empty one', () => {
  const program = new Command('program');
  leaveOutEmptyDefaults(program);
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

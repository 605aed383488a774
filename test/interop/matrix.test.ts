import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { explainVerdict } from '../../trust/index.ts';
import type { TrustPolicy } from '../../trust/index.ts';
import { findTool } from '../fixtures/tools.ts';
import { isWide } from '../fixtures/width.ts';
import { matters } from './matrix/cells.ts';
import type { OpenTool, Row, Tool } from './matrix/cells.ts';
import { openCosign } from './matrix/cosign.ts';
import { openGpg } from './matrix/gpg.ts';
import { openGround, parts } from './matrix/ground.ts';
import type { Ground } from './matrix/ground.ts';
import { openNotation } from './matrix/notation.ts';

const tools: readonly (readonly [name: string, open: OpenTool])[] = [
  ['cosign', openCosign],
  ['notation', openNotation],
  ['skopeo', openGpg],
];
const ours = 'what we sign';
const table = results();

for (const withReferrers of [false, true]) {
  const at = `a registry ${withReferrers ? 'with' : 'without'} referrers`;
  for (const [name, open] of tools) {
    const skip = findTool(name).skip || (withReferrers ? findTool('critimages').skip : false);
    describe(`${name} at ${at}`, { skip }, () => {
      let ground: Ground;
      let tool: Tool;
      const policies = new Map<Row, TrustPolicy>();
      let images = 0;
      before(async () => {
        ground = await openGround(withReferrers);
        tool = await open(ground);
        for (const row of tool.rows) policies.set(row, await ground.load(row.folder, row.rules));
      });
      after(async () => {
        await tool.close();
        await ground.close();
      });

      const policyOf = (row: Row): TrustPolicy => {
        const policy = policies.get(row);
        assert.ok(policy);
        return policy;
      };

      // A short run covers each part and each registry for each tool. A complete run covers each part at each
      // registry.
      for (const part of parts.filter((_, index) => isWide || index === Number(withReferrers))) {
        for (const matter of matters) {
          it(`${matter}, on the ${part}`, async () => {
            for (const row of tool.rows) {
              const cell = row.cells[matter];
              if (typeof cell === 'string') {
                table.absent(row.name, matter, cell);
                continue;
              }
              const image = await ground.publish(
                `${row.folder}/${cell.folder ?? 'in'}/${(images += 1)}`,
                part,
              );
              const asked = (await cell.arrange(image)) ?? image;
              const verdict = await ground.verdict(asked, policyOf(row));
              const explained = `${row.name}, ${matter}\n${explainVerdict(verdict)}`;
              assert.equal(verdict.outcome, cell.outcome, explained);
              assert.match(
                JSON.stringify(verdict.reasons),
                new RegExp(`"(${cell.codes.join('|')})"`),
                explained,
              );
              if (typeof cell.judge === 'function')
                assert.equal(
                  await cell.judge(asked),
                  cell.outcome === 'admit',
                  `${name}'s own answer: ${explained}`,
                );
              table.passed(row.name, matter);
            }
          });
        }

        it(`${ours}, on the ${part}`, async () => {
          for (const row of tool.rows) {
            if (row.ours === undefined) {
              table.absent(row.name, ours, 'we do not sign in this form');
              continue;
            }
            const image = await ground.publish(`${row.folder}/in/${(images += 1)}`, part);
            await row.ours.arrange(image);
            const verdict = await ground.verdict(image, policyOf(row));
            assert.equal(verdict.outcome, 'admit', explainVerdict(verdict));
            if (typeof row.ours.judge === 'function')
              assert.equal(await row.ours.judge(image), true, `${name} refuses what we sign: ${row.name}`);
            table.passed(row.name, ours);
          }
        });
      }
    });
  }
}

after(table.print);

/** Records which cells passed, and prints the table at the end. */
function results() {
  const columns = [...matters, ours];
  const rows = new Map<string, Map<string, number | string>>();
  const rowOf = (name: string): Map<string, number | string> => {
    const row = rows.get(name) ?? new Map<string, number | string>();
    rows.set(name, row);
    return row;
  };
  return {
    passed(name: string, column: string): void {
      const row = rowOf(name);
      row.set(column, Number(row.get(column) ?? 0) + 1);
    },
    absent: (name: string, column: string, why: string): unknown => rowOf(name).set(column, why),
    print(): void {
      const width = Math.max(0, ...[...rows.keys()].map((name) => name.length));
      const cells = [...rows].flatMap(([name, row]) =>
        [...row].map(([column, result]) => ({ name, column, result })),
      );
      console.log(`${''.padEnd(width)}  ${columns.join('  ')}`);
      for (const [name, row] of rows)
        console.log(
          `${name.padEnd(width)}  ${columns.map((column) => mark(row.get(column)).padEnd(column.length)).join('  ')}`,
        );
      for (const { name, column, result } of cells)
        if (typeof result === 'string') console.log(`- ${name}, ${column}: ${result}`);
      const passed = cells.reduce((sum, { result }) => sum + (typeof result === 'number' ? result : 0), 0);
      console.log(
        `matrix: ${passed} cells passed; ${cells.length} cases, of which ${cells.filter(({ result }) => typeof result === 'string').length} cannot exist`,
      );
    },
  };
  function mark(result: number | string | undefined): string {
    return typeof result === 'number' ? `${result} ok` : result === undefined ? '?' : '-';
  }
}

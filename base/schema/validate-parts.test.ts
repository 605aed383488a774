import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { formatProblems, listProblems, parseDocuments, problemAt, validateParts } from './index.ts';
import type { Document } from './index.ts';

const schema = {
  type: 'object',
  required: ['name'],
  additionalProperties: false,
  properties: {
    name: { type: 'string' },
    ports: {
      type: 'array',
      items: {
        type: 'object',
        required: ['port'],
        properties: { port: { type: 'integer' }, is: { type: 'boolean' } },
      },
    },
    deep: { type: 'object', properties: { list: { type: 'array', minItems: 1, items: { type: 'string' } } } },
  },
};

function documentOf(text: string): Document {
  const [document] = parseDocuments(text, 'f.yaml').documents;
  assert.ok(document !== undefined);
  return document;
}

describe('the valid parts of a document', () => {
  it('are the document itself when it has no problem', () => {
    const document = documentOf('name: a\nports: [{ port: 1 }]\n');
    assert.deepEqual(validateParts(document, schema), { problems: [], rest: document });
  });

  it('omit items and fields that have a problem, and keep their positions in the file', () => {
    const { problems, rest } = validateParts(
      documentOf(
        'name: a\nnam: b\nports:\n  - port: x\n  - port: 2\n  - { is: 5, port: 3 }\n  - 7\n  - { port: 4 }\n',
      ),
      schema,
    );
    assert.deepEqual(
      problems.map(({ position, path }) => [position.line, path]),
      [
        [2, 'nam'],
        [4, 'ports[0].port'],
        [6, 'ports[2].is'],
        [7, 'ports[3]'],
      ],
    );
    assert.ok(rest !== undefined);
    assert.deepEqual(rest.value, { name: 'a', ports: [{ port: 2 }, { port: 3 }, { port: 4 }] });
    assert.match(
      formatProblems([problemAt(rest, ['ports', 2, 'port'], 'taken')]),
      /^f\.yaml:8:13: ports\[4\]\.port: taken$/u,
    );
    assert.match(
      formatProblems([problemAt(rest, ['ports', 0, 'port'], 'taken')]),
      /^f\.yaml:5:11: ports\[1\]\.port: taken$/u,
    );
  });

  it('do not include a part that becomes invalid without another part', () => {
    const { rest } = validateParts(documentOf('name: a\ndeep: { list: [5, 6] }\n'), schema);
    assert.deepEqual(rest?.value, { name: 'a', deep: {} });
  });

  it('do not change a value that an alias shares', () => {
    const { rest } = validateParts(
      documentOf('name: a\ndeep: &d { list: [x] }\nports: [{ port: 1, is: *d }]\n'),
      schema,
    );
    assert.deepEqual(rest?.value, { name: 'a', deep: { list: ['x'] }, ports: [{ port: 1 }] });
  });

  it('are absent if nothing valid is left, if a whole field is invalid, and above 100 problems', () => {
    const without = (text: string, whole: readonly string[] = []): void => {
      const { problems, rest } = validateParts(documentOf(text), schema, whole);
      assert.equal(rest, undefined, text);
      assert.match(listProblems(problems), /\nmore problems may follow: /u);
    };
    without('name: 5\n');
    without('name: a\nports: [5]\n', ['ports']);
    without(`name: a\nports: [${'x, '.repeat(101)}]\n`);
    assert.notEqual(
      validateParts(documentOf(`name: a\nports: [${'x, '.repeat(100)}]\n`), schema).rest,
      undefined,
    );
  });
});

describe('a list of problems', () => {
  const problems = (count: number): readonly Parameters<typeof listProblems>[0][number][] =>
    Array.from({ length: count }, (_, at) => ({
      position: { file: 'f', line: at + 1, column: 1 },
      path: '',
      message: 'wrong',
    }));

  it('has at most 50, and says how many are not listed', () => {
    assert.equal(listProblems([]), '');
    assert.equal(listProblems(problems(50)).split('\n').length, 51);
    const lines = listProblems(problems(52)).trimEnd().split('\n');
    assert.deepEqual(
      [lines.length, lines[49], lines[50]],
      [51, 'f:50:1: wrong', '2 more problems are not listed: correct these first'],
    );
  });

  it('says that more may follow only if a problem hides a part of a file that was read', () => {
    assert.doesNotMatch(listProblems(problems(2)), /follow/u);
    const unread = problems(1).map((one) => ({ ...one, unread: true, hidesOthers: true }) as const);
    assert.doesNotMatch(listProblems(unread), /follow/u);
    assert.match(listProblems(parseDocuments('a: [\n', 'f').problems), /\nmore problems may follow/u);
  });
});

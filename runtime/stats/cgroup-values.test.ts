import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { parseLimit } from './cgroup-files.ts';
import { version1, version2 } from './cgroup-samples.fixture.ts';
import {
  parseBlkio,
  parseFlatKeyed,
  parseIoStat,
  parseNumber,
  parsePressure,
  parseProcesses,
} from './cgroup-values.ts';

describe('files of cgroups', () => {
  for (const [text, expected] of [
    ['4096\n', 4096],
    ['0\n', 0],
    ['18446744073709551615\n', 2 ** 64],
    ['max\n', undefined],
    ['', undefined],
    ['-1\n', undefined],
    ['1e3\n', undefined],
    ['1 2\n', undefined],
    [undefined, undefined],
  ] as const) {
    test(`a number: ${JSON.stringify(text)}`, () => assert.equal(parseNumber(text), expected));
  }

  for (const [text, expected] of [
    ['67108864\n', 67108864],
    ['max\n', undefined],
    ['9223372036854771712\n', undefined],
    ['0\n', 0],
  ] as const) {
    test(`a limit: ${JSON.stringify(text)}`, () => assert.equal(parseLimit(text), expected));
  }

  test('pressure in nanoseconds and percent, as recorded', () => {
    assert.deepEqual(parsePressure(version2['cpu.pressure']), {
      some: { avg10: 48.32, avg60: 16.36, avg300: 3.85, totalNs: 11908868000 },
      full: { avg10: 48.32, avg60: 16.36, avg300: 3.85, totalNs: 11905562000 },
    });
    // Before Linux 5.13 the processor had no `full`.
    assert.deepEqual(parsePressure('some avg10=0.00 avg60=1.50 avg300=100.00 total=7\n'), {
      some: { avg10: 0, avg60: 1.5, avg300: 100, totalNs: 7000 },
    });
    for (const text of [
      undefined,
      '',
      'some avg10=a avg60=0.00 avg300=0.00 total=0\n',
      'some avg10=1.2.3 avg60=0.00 avg300=0.00 total=0\n',
    ])
      assert.equal(parsePressure(text), undefined);
  });

  test('block devices of both versions', () => {
    assert.deepEqual(parseIoStat(version2['io.stat']), [
      { device: '7:0', readBytes: 2097152, writtenBytes: 1048576, reads: 32, writes: 16 },
    ]);
    assert.deepEqual(
      parseIoStat('8:16 \n8:0 rbytes=1 wbytes=2 rios=3 wios=4 cost.usage=5\nnone rbytes=1\n'),
      [{ device: '8:0', readBytes: 1, writtenBytes: 2, reads: 3, writes: 4 }],
    );
    assert.deepEqual(
      parseBlkio(
        version1['blkio.bfq.io_service_bytes_recursive'],
        version1['blkio.bfq.io_serviced_recursive'],
      ),
      [{ device: '8:0', readBytes: 1310720, writtenBytes: 4096, reads: 30, writes: 1 }],
    );
    assert.deepEqual(parseBlkio('Total 0\n', undefined), []);
  });

  test('processes, without those of other PID namespaces', () =>
    assert.deepEqual(parseProcesses('12\n0\n7\n'), [12, 7]));
});

describe('any text of a kernel', () => {
  test('values with keys are read correctly', () => {
    const key = fc.stringMatching(/^[a-z_][a-z0-9_.]{0,30}$/);
    fc.assert(
      fc.property(fc.uniqueArray(fc.tuple(key, fc.nat()), { selector: ([name]) => name }), (pairs) => {
        const text = pairs.map(([name, value]) => `${name} ${value}\n`).join('');
        assert.deepEqual([...parseFlatKeyed(text)], pairs);
      }),
    );
  });

  test('devices come back', () => {
    const entry = fc.record({
      major: fc.nat(4095),
      minor: fc.nat(1_048_575),
      values: fc.array(fc.nat(), { minLength: 4, maxLength: 4 }),
    });
    fc.assert(
      fc.property(
        fc.uniqueArray(entry, { selector: ({ major, minor }) => `${major}:${minor}` }),
        (entries) => {
          const expected = entries.map(
            ({ major, minor, values: [readBytes = 0, writtenBytes = 0, reads = 0, writes = 0] }) => ({
              device: `${major}:${minor}`,
              readBytes,
              writtenBytes,
              reads,
              writes,
            }),
          );
          const two = expected.map(
            (io) =>
              `${io.device} rbytes=${io.readBytes} wbytes=${io.writtenBytes} rios=${io.reads} wios=${io.writes} dbytes=9`,
          );
          assert.deepEqual(parseIoStat(two.join('\n')), expected);
          const bytes = expected.map(
            (io) =>
              `${io.device} Read ${io.readBytes}\n${io.device} Write ${io.writtenBytes}\n${io.device} Sync 3`,
          );
          const operations = expected.map(
            (io) => `${io.device} Read ${io.reads}\n${io.device} Write ${io.writes}`,
          );
          assert.deepEqual(parseBlkio([...bytes, 'Total 12'].join('\n'), operations.join('\n')), expected);
        },
      ),
    );
  });

  test('no text makes a parser throw, and every value is a whole number', () => {
    const line = fc.oneof(
      fc.string(),
      fc.constantFrom(
        '8:0 rbytes=',
        'some avg10=0.00',
        'full avg10=.. avg60=. avg300=. total=1',
        'a b',
        '8:0 Read x',
      ),
    );
    fc.assert(
      fc.property(fc.array(line), (lines) => {
        const text = lines.join('\n');
        for (const value of parseFlatKeyed(text).values()) assert.ok(Number.isInteger(value));
        for (const { readBytes, writes } of [...parseIoStat(text), ...parseBlkio(text, text)])
          assert.ok(Number.isInteger(readBytes + writes));
        for (const pid of parseProcesses(text)) assert.ok(pid > 0);
        parsePressure(text);
      }),
    );
  });
});

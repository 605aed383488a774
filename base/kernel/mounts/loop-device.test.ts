import assert from 'node:assert/strict';
import { closeSync, openSync, readFileSync, readSync, writeFileSync, writeSync } from 'node:fs';
import { test } from 'node:test';
import { directReadUnit } from '../index.ts';
import { withLoopDevice } from './loop-device.ts';
import { openDescriptors, temporaryFolder } from '../temporary.fixture.ts';

const backingFile = (device: string): string | undefined => {
  try {
    return readFileSync(`/sys/block/${device.slice('/dev/'.length)}/loop/backing_file`, 'utf8').trimEnd();
  } catch {
    return undefined;
  }
};

for (const direct of [true, false]) {
  test(`a file is presented as a read-only disk while it is used${direct ? ', read directly' : ''}`, (t) => {
    const path = `${temporaryFolder(t)}/disk`;
    writeFileSync(path, Buffer.alloc(8192, 'content'));
    const before = openDescriptors();
    const [device, user] = withLoopDevice(path, direct, (name) => {
      return [name, openSync(name, 'r+')] as const;
    });
    assert.equal(backingFile(device), path);
    const read = Buffer.alloc(8192);
    assert.equal(readSync(user, read, 0, 8192, 0), 8192);
    assert.equal(read.toString(), Buffer.alloc(8192, 'content').toString());
    assert.throws(() => writeSync(user, read, 0, 8192, 0), { code: 'EPERM' });
    closeSync(user);
    assert.notEqual(backingFile(device), path);
    assert.equal(openDescriptors(), before);
  });
}

test('a failure of the body releases the device', (t) => {
  const path = `${temporaryFolder(t)}/disk`;
  writeFileSync(path, Buffer.alloc(4096));
  let device = '';
  assert.throws(
    () =>
      withLoopDevice(path, false, (name) => {
        device = name;
        throw new Error('from the body');
      }),
    /from the body/,
  );
  assert.notEqual(backingFile(device), path);
});

test('the unit of direct reads is that of the file system', (t) => {
  const path = `${temporaryFolder(t)}/file`;
  writeFileSync(path, Buffer.alloc(4096));
  const file = openSync(path, 'r');
  const none = openSync('/proc/self/status', 'r');
  assert.ok([512, 4096].includes(directReadUnit(file)));
  assert.equal(directReadUnit(none), 0);
  closeSync(file);
  closeSync(none);
});

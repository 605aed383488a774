import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { migrations } from './migrations.ts';

/**
 * sha256 of each released step, in order. Append the digest of a new step. Never change, move or remove one:
 * databases have applied these steps.
 */
const released = [
  '3fc426254f746663521a1483277a74fd384d3b649a482e30640ed1a106ccaf49',
  '8fc959092cb9e5ecb791f5b78de2dcb42902f23ad467b7529a51404dbf81150c',
  'f3e17b6a8d32be2c08f947912abce321411c511c864bedc2688d505390cc470b',
  '692207d5087f10754bbc8e0818b36a379fe9d65d0ec0eadf936eec7a33d37859',
  '07500d14be772999386abbec4bb842bb873ba9895e0d3fa2da09cb729e10ec6f',
  'f44b085f1c9c3853cf7d3f38df36e4d74c0773de282efad9597e5ea1669ae525',
  '0c7c3ed7a2e647832ecba202d3124acfd83f2fe81909dfcbfa57e75bdf7951d4',
  '70d0a8e343868e63eaa0b9bff4a7ddf745d07f3db48ea2b770c4fe7e4618c3db',
  '6ffccbe695ca113cffad5ddbae68252bc1e19a0b527f677434a9c9bb2f933c92',
  '7af9b57d8eff112ef7c230fca59b26d076661d33a45bbb58bf6af47664e7e909',
  '5f472e664dfbe5b4bafcaee4fe14e13a6a51f6542b05dee255e738329dbf2da0',
  'e0771b416d8a83bc9dc085cfa62409750a9a7a18550e2dd4f283914b19452501',
  'e4eb44fdaa13f5d80b96b5442e626d368fb7f615447aee9d6615aab9eb80f5a6',
  '9f03273970e6be37106f60324b305987ad427d52a61856ff78f9a811a22eaeb0',
  'be022f96392e4c8efee0fc6ac9e1da8198e59e4a27acc2395685e47338399c4a',
];

test('the steps of the schema of network.db are those that were released, in their order', () => {
  assert.deepEqual(
    migrations.map((sql) => createHash('sha256').update(sql).digest('hex')),
    released,
  );
});

import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { test } from 'node:test';
import { chainIds } from './chain-ids.ts';

const sha256 = (text: string): string => `sha256:${hash('sha256', text, 'hex')}`;

test('the chain id of a layer is the digest of the chain id below it, a space, and its diff id', () => {
  const [first, second, third] = ['1', '2', '3'].map(sha256);
  const below = sha256(`${first} ${second}`);
  assert.deepEqual(chainIds([first!, second!, third!]), [
    { diffId: first, chainId: first },
    { diffId: second, chainId: below },
    { diffId: third, chainId: sha256(`${below} ${third}`) },
  ]);
});

test('a layer that occurs twice in an image has two chain ids', () => {
  const [lower, upper] = chainIds([sha256('1'), sha256('1')]);
  assert.notEqual(lower?.chainId, upper?.chainId);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { channelPattern } from '../../trust/policy-release/index.ts';
import { policySubscriptionSchema } from './policy-schema.ts';

test('a channel in the configuration has the form that a release accepts', () => {
  assert.equal(policySubscriptionSchema.properties?.['channel']?.pattern, channelPattern);
});

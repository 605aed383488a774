import assert from 'node:assert/strict';
import { test } from 'node:test';
import { containerOfEvent, endpointsOfNetwork, readDockerContainer } from './docker-container.ts';

const id = 'ab'.repeat(32);
const described = (network: object, more: object = {}): object => ({
  Id: id,
  Name: '/web',
  State: { Pid: 4242 },
  NetworkSettings: {
    SandboxKey: '/var/run/docker/netns/0123456789ab',
    Networks: { shop: { EndpointID: 'e1', ...network } },
  },
  ...more,
});

for (const [what, network, aliases] of [
  [
    '20.10: the short id is among the aliases',
    { Aliases: ['front', 'abababababab'] },
    ['abababababab', 'front'],
  ],
  [
    '25 and later: DNSNames has them all',
    { Aliases: ['front'], DNSNames: ['web', 'front', 'abababababab'] },
    ['abababababab', 'front'],
  ],
  ['none given', { Aliases: null }, ['abababababab']],
  ['what is not text is not an alias', { Aliases: [7, '', 'front', {}] }, ['abababababab', 'front']],
] as const)
  test(`names of an endpoint are read: ${what}`, () => {
    assert.deepEqual(readDockerContainer(described(network))?.endpoints, [
      { id: 'e1', name: 'web', aliases },
    ]);
  });

test('the services that a container joins are read from its label', () => {
  const label = '[{"name":"web","ports":[80]}]';
  const labelled = described(
    { Aliases: null },
    { Config: { Labels: { 'portcullis.dev/services': label, other: 'x' } } },
  );
  assert.equal(readDockerContainer(labelled)?.endpoints[0]?.services, label);
  assert.equal(
    readDockerContainer(described({}, { Config: { Labels: null } }))?.endpoints[0]?.services,
    undefined,
  );
});

test('a container that is stopped has neither process nor endpoints', () => {
  const stopped = described({ EndpointID: '' }, { State: { Pid: 0 } });
  assert.deepEqual(readDockerContainer(stopped), { id, name: 'web', endpoints: [] });
  assert.deepEqual(readDockerContainer(described({}))?.running, {
    pid: 4242,
    netns: '/var/run/docker/netns/0123456789ab',
  });
});

test('a text that describes no container is ignored', () => {
  for (const value of [undefined, null, [], 'x', {}, { Id: 1, Name: 'x' }, { Id: id }])
    assert.equal(readDockerContainer(value), undefined);
  assert.deepEqual(
    readDockerContainer({ Id: id, Name: 'web', NetworkSettings: { Networks: ['x', null] } })?.endpoints,
    [],
  );
});

test('the container of an event is found', () => {
  assert.equal(
    containerOfEvent({
      Type: 'network',
      Action: 'connect',
      Actor: { ID: 'n', Attributes: { container: id } },
    }),
    id,
  );
  assert.equal(
    containerOfEvent({ Type: 'container', Action: 'rename', Actor: { ID: id, Attributes: { name: 'web' } } }),
    id,
  );
  for (const event of [
    null,
    {},
    { Type: 'network', Actor: { ID: id } },
    { Type: 'container', Actor: { ID: '../x' } },
  ])
    assert.equal(containerOfEvent(event), undefined);
});

test('the endpoints of a network are read, of running and other containers', () => {
  const containers = { [id]: { EndpointID: 'e1' }, 'ep-e2': { EndpointID: 'e2' }, odd: null };
  assert.deepEqual(endpointsOfNetwork({ Containers: containers }), new Set(['e1', 'e2']));
  assert.deepEqual(endpointsOfNetwork({ Containers: {} }), new Set());
  for (const value of [undefined, null, {}, { Containers: null }])
    assert.equal(endpointsOfNetwork(value), undefined);
});

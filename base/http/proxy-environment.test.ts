import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { proxyRulesOf } from './proxy-environment.ts';

const proxy = 'http://proxy.test:3128/';

describe('which URLs go through a proxy', () => {
  const cases: readonly (readonly [noProxy: string, url: string, isProxied: boolean])[] = [
    ['', 'https://registry.test', true],
    ['registry.test', 'https://registry.test', false],
    ['registry.test', 'https://a.registry.test', false],
    ['registry.test', 'https://myregistry.test', true],
    ['registry.test', 'https://REGISTRY.test.', false],
    ['.registry.test', 'https://a.registry.test', false],
    ['.registry.test', 'https://registry.test', true],
    ['*.registry.test', 'https://a.registry.test', false],
    ['*.registry.test', 'https://registry.test', true],
    ['registry.test:5000', 'https://registry.test:5000', false],
    ['registry.test:5000', 'https://registry.test', true],
    ['registry.test:443', 'https://registry.test', false],
    ['*', 'https://registry.test', false],
    ['a.test, b.test ,registry.test', 'https://registry.test', false],
    ['10.0.0.0/8', 'https://10.1.2.3', false],
    ['10.0.0.0/8', 'https://11.1.2.3', true],
    ['10.0.0.0/8', 'https://10.example.com', true],
    ['10.0.0.1', 'https://10.0.0.1:8443', false],
    ['10.0.0.1:443', 'https://10.0.0.1:8443', true],
    ['10.0.0.1', 'https://0xa000001', false],
    ['2001:db8::/32', 'https://[2001:db8::7]', false],
    ['2001:db8::7', 'https://[2001:db8::7]:5000', false],
    ['[2001:db8::7]:5000', 'https://[2001:db8::7]:5000', false],
    ['[2001:db8::7]:5000', 'https://[2001:db8::7]', true],
    ['10.0.0.0/33,.', 'https://10.0.0.1', true],
    ['', 'https://127.0.0.1:5000', false],
    ['', 'https://localhost', false],
    ['', 'https://[::ffff:7f00:1]', false],
    ['', 'http://0.0.0.0', false],
  ];
  for (const [noProxy, url, isProxied] of cases) {
    it(`NO_PROXY=${JSON.stringify(noProxy)}: ${url} ${isProxied ? 'does' : 'does not'}`, () => {
      const rules = proxyRulesOf({ HTTPS_PROXY: proxy, HTTP_PROXY: proxy, NO_PROXY: noProxy });
      assert.equal(rules.proxyFor(new URL(url))?.href, isProxied ? proxy : undefined);
    });
  }

  it('upper case has precedence over lower case, HTTP_PROXY is for plain HTTP only, and http:// may be omitted', () => {
    const plain = new URL('http://registry.test');
    const secure = new URL('https://registry.test');
    assert.equal(proxyRulesOf({ https_proxy: 'proxy.test:3128' }).proxyFor(secure)?.href, proxy);
    assert.equal(
      proxyRulesOf({ HTTPS_PROXY: 'a.test:1', https_proxy: 'b.test:1' }).proxyFor(secure)?.host,
      'a.test:1',
    );
    assert.equal(proxyRulesOf({ HTTP_PROXY: proxy }).proxyFor(secure), undefined);
    assert.equal(proxyRulesOf({ HTTPS_PROXY: proxy }).proxyFor(plain), undefined);
    assert.equal(proxyRulesOf({ no_proxy: '*', https_proxy: proxy }).proxyFor(secure), undefined);
  });

  it('a proxy that is not an address of http is refused, and its password is not shown', () => {
    for (const wrong of [
      'socks5://me:secret@proxy.test:1080',
      'ftp://me:secret@proxy.test',
      'http://me:secret@',
      'http://me:secret@:::',
    ]) {
      const rules = proxyRulesOf({ HTTPS_PROXY: wrong });
      assert.throws(
        () => rules.proxyFor(new URL('https://registry.test')),
        (error: Error & { code?: string }) => {
          assert.equal(error.code, 'HTTP_BAD_PROXY');
          assert.doesNotMatch(JSON.stringify([error.message, error.stack, error]), /secret/u);
          return true;
        },
      );
    }
  });
});

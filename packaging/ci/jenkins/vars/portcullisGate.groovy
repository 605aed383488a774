/**
 * Decides about an image: `image` by digest, `policy`, `namespace`, `verifierId` and the options of
 * `portcullisSign`. Returns the reference to deploy, by digest.
 */
def call(Map options) {
  withEnv([
    "PORTCULLIS_IMAGE=${options.image}",
    "PORTCULLIS_POLICY=${options.policy}",
    "PORTCULLIS_NAMESPACE=${options.namespace ?: ''}",
    "PORTCULLIS_VERIFIER_ID=${options.verifierId ?: ''}",
    "PORTCULLIS_KEY=${options.key ?: ''}",
    "PORTCULLIS_IDENTITY_TOKEN_FILE=${options.identityTokenFile ?: ''}",
    "PORTCULLIS_SIGNING_CONFIG=${options.signingConfig ?: 'public-good'}",
    "PORTCULLIS_REPORTS=portcullis-reports",
  ]) {
    try {
      sh 'PATH="$PWD/.portcullis/node_modules/.bin:$PATH" .portcullis/node_modules/portcullis/packaging/ci/shell/gate'
    } finally {
      junit testResults: 'portcullis-reports/gate.xml', allowEmptyResults: true
    }
    return readFile('portcullis-reports/admitted').trim()
  }
}

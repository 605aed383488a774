/** Installs the npm package in the workspace. `npmPackage`: what npm installs, with an exact version. */
def call(Map options = [:]) {
  withEnv(["PORTCULLIS_PACKAGE=${options.npmPackage ?: 'portcullis@0.1.0'}"]) {
    sh 'rm -rf .portcullis && npm install --prefix .portcullis --omit=optional --ignore-scripts --no-audit --no-fund --no-save -- "$PORTCULLIS_PACKAGE"'
  }
}

// Runs a script of a Jenkins pipeline with the global variables of a shared library, by the Groovy that Jenkins has (2.4):
//   groovy jenkins.groovy VARS SCRIPT, in the workspace of the build
// The steps that the library uses do here what the plugins of Jenkins do on an agent: `sh` runs `sh -xe` in the workspace, and its
// status ends the build.
import groovy.xml.*
import org.codehaus.groovy.control.CompilerConfiguration

class Failed extends Exception {
  final int status
  Failed(String message, int status) { super(message); this.status = status }
}

abstract class Steps extends Script {
  static final Map<String, String> variables = new LinkedHashMap(System.getenv())

  static Map<String, String> getEnv() { variables.asImmutable() }

  static withEnv(List<String> assignments, Closure body) {
    def before = new LinkedHashMap(variables)
    assignments.each { String one ->
      def (name, value) = one.split('=', 2)
      variables[name] = value
    }
    try {
      return body()
    } finally {
      variables.clear()
      variables.putAll(before)
    }
  }

  static sh(String script) {
    def builder = new ProcessBuilder('sh', '-xe', '-c', script).inheritIO()
    builder.environment().clear()
    builder.environment().putAll(variables)
    def status = builder.start().waitFor()
    if (status != 0) throw new Failed("script returned exit code ${status}", status)
  }

  static String readFile(String path) { new File(path).getText('UTF-8') }

  static writeFile(Map options) { new File(options.file as String).setText(options.text as String, 'UTF-8') }

  // The plugin reads the report, and fails the build when there is none, unless the step allows it.
  static junit(Map options) {
    def file = new File(options.testResults as String)
    if (file.exists()) println "junit: ${new XmlSlurper().parse(file).testsuite.size()} suites"
    else if (!options.allowEmptyResults) throw new Failed('No test report files were found. Configuration error?', 1)
  }
}

def configuration = new CompilerConfiguration(scriptBaseClass: Steps.name)
def binding = new Binding()
def shell = new GroovyShell(this.class.classLoader, binding, configuration)
new File(args[0]).listFiles().findAll { it.name.endsWith('.groovy') }.each { File file ->
  def variable = shell.parse(file)
  binding.setVariable(file.name - '.groovy', { Object[] words -> variable.invokeMethod('call', words) })
}
try {
  shell.parse(new File(args[1])).run()
} catch (Failed failure) {
  System.err.println "ERROR: ${failure.message}"
  System.exit(failure.status)
}

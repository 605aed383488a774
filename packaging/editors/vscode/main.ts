import * as vscode from 'vscode';
import { checkFile, commandFor } from './check.ts';
import type { Problem } from './check.ts';

/** Called by the editor when the first YAML or JSON document is opened. */
export function activate(context: vscode.ExtensionContext): void {
  const found = vscode.languages.createDiagnosticCollection('portcullis');
  /** The check of each document that runs, by its URI. */
  const running = new Map<string, AbortController>();
  let hasFailed = false;

  const forget = (document: vscode.TextDocument): void => {
    running.get(document.uri.toString())?.abort();
    found.delete(document.uri);
  };

  const check = async (document: vscode.TextDocument): Promise<void> => {
    const words = commandFor(document.getText());
    // No program is started for an untrusted workspace, or for a file that is not on this disk.
    if (words === undefined || document.uri.scheme !== 'file' || !vscode.workspace.isTrusted)
      return forget(document);
    const key = document.uri.toString();
    running.get(key)?.abort();
    const own = new AbortController();
    running.set(key, own);
    const program = vscode.workspace.getConfiguration('portcullis').get<string>('path') ?? 'portcullis';
    try {
      const problems = await checkFile(program, words, document.uri.fsPath, own.signal);
      if (!own.signal.aborted) found.set(document.uri, problems.map(diagnosticOf));
    } catch (error) {
      if (own.signal.aborted) return;
      // Nothing is known about the document.
      found.delete(document.uri);
      if (hasFailed) return;
      hasFailed = true;
      const why = error instanceof Error ? error.message : String(error);
      void vscode.window.showWarningMessage(
        `Portcullis cannot check documents: ${why}. Install portcullis, or set portcullis.path.`,
      );
    } finally {
      if (running.get(key) === own) running.delete(key);
    }
  };

  const checkAll = (): void => {
    for (const document of vscode.workspace.textDocuments) void check(document);
  };
  context.subscriptions.push(
    found,
    vscode.workspace.onDidOpenTextDocument((document) => void check(document)),
    vscode.workspace.onDidSaveTextDocument((document) => void check(document)),
    vscode.workspace.onDidCloseTextDocument(forget),
    vscode.workspace.onDidGrantWorkspaceTrust(checkAll),
    { dispose: () => running.forEach((one) => one.abort()) },
  );
  checkAll();
}

function diagnosticOf({ line, column, message, severity, code }: Problem): vscode.Diagnostic {
  const at = new vscode.Position(Math.max(0, line - 1), Math.max(0, column - 1));
  const level = severity === 'error' ? vscode.DiagnosticSeverity.Error : vscode.DiagnosticSeverity.Warning;
  // The editor extends an empty range to the word.
  const diagnostic = new vscode.Diagnostic(new vscode.Range(at, at), message, level);
  diagnostic.source = 'portcullis';
  if (code !== undefined) diagnostic.code = code;
  return diagnostic;
}

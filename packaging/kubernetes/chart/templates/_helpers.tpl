{{/* The reference of an image. Takes a list of the root and the name. Values win over digests of the release. */}}
{{- define "portcullis.image" -}}
{{- $root := index . 0 -}}{{- $name := index . 1 -}}{{- $images := $root.Values.images -}}
{{- $digest := index $images.digests $name -}}
{{- if not (or $digest $images.tag) -}}
{{- $digest = get ($root.Files.Get "digests.yaml" | fromYaml) $name -}}
{{- end -}}
{{- if $digest -}}
{{ $images.registry }}/{{ $name }}@{{ $digest }}
{{- else -}}
{{ $images.registry }}/{{ $name }}:{{ $images.tag | default $root.Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* Where pods run, how important they are, and who may fetch their images. Takes a list of the root and the values of a component. */}}
{{- define "portcullis.placement" -}}
{{- $root := index . 0 -}}{{- $values := index . 1 -}}
{{- with $root.Values.images.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector: {{ toJson . }}
{{- end }}
{{- with $values.tolerations }}
tolerations: {{ toJson . }}
{{- end }}
{{- end -}}

{{/* A namespace. Takes a list of the root, the name and the level of pod security. */}}
{{- define "portcullis.namespace" -}}
{{- if (index . 0).Values.createNamespaces }}
{{- $name := index . 1 -}}{{- $used := 0 -}}
{{- range $component := list "webhook" "fleet" "trust" "nodeInstaller" }}
{{- $values := index (index $ 0).Values $component }}
{{- if and $values.enabled (eq $values.namespace $name) }}{{ $used = add1 $used }}{{ end }}
{{- end }}
{{- if gt (int $used) 1 }}{{ fail (printf "two components have the namespace %s: give each its own" $name) }}{{ end }}
---
apiVersion: v1
kind: Namespace
metadata:
  name: {{ index . 1 | quote }}
  annotations:
    # A namespace takes the volumes of the databases with it, and the Secrets that the administrator created.
    helm.sh/resource-policy: keep
  labels:
    pod-security.kubernetes.io/enforce: {{ index . 2 }}
{{- end }}
{{- end -}}

{{/* What the two services with a database have in common. Takes a list of the root, the name and the values. */}}
{{- define "portcullis.service" -}}
{{- $root := index . 0 -}}{{- $name := index . 1 -}}{{- $values := index . 2 -}}
{{ include "portcullis.namespace" (list $root $values.namespace "restricted") }}
---
apiVersion: v1
kind: Service
metadata:
  name: portcullis-{{ $name }}
  namespace: {{ $values.namespace | quote }}
spec:
  selector: { app.kubernetes.io/name: portcullis-{{ $name }} }
  ports:
    - { name: https, port: 443, targetPort: https }
---
apiVersion: v1
kind: ServiceAccount
metadata:
  name: portcullis-{{ $name }}
  namespace: {{ $values.namespace | quote }}
automountServiceAccountToken: false
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: portcullis-{{ $name }}
  namespace: {{ $values.namespace | quote }}
spec:
  maxUnavailable: 1
  selector: { matchLabels: { app.kubernetes.io/name: portcullis-{{ $name }} } }
{{- end -}}

{{/* The parts of a pod of these services that do not differ. */}}
{{- define "portcullis.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile: { type: RuntimeDefault }
{{- end -}}

{{- define "portcullis.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end -}}

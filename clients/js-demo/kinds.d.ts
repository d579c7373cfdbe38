// Drawn from server/quorate_server/kinds.py: run `python -m quorate_server.kinds_page` to bring it up to date.
import type * as Y from 'yjs'

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json }

export interface ApprovalRequest {
  /** What it is called. */
  title?: Json
  /** Which template of approvals it follows. */
  type?: Json
  /** `low`, `normal`, `high` or `urgent`. */
  priority?: Json
  /** What it is about: the name of an artifact, or a reference outside. */
  subject?: Json
  /** Which version of the subject: a content hash or a version's id. */
  subject_version?: Json
  /** Why it should be granted. */
  justification?: string
  /** `low`, `medium`, `high` or `critical`. */
  risk_level?: Json
  /** The regimes that it falls under. */
  compliance_tags?: Array<Json> | Json
  /** User ids of those whom it would serve. */
  beneficiaries?: Array<Json> | Json
  /** Until when it is wanted, as an ISO 8601 time. */
  due_at?: Json
  /** Until when the grant should hold, as an ISO 8601 time. */
  valid_until?: Json
}

export interface Attachment {
  /** What it is called. */
  name?: Json
  /** What it is, as a media type. */
  media_type?: Json
  /** Where it is kept. */
  url?: Json
  /** The SHA-256 of its bytes, in hex. */
  sha256?: Json
  /** How long it is. */
  size_bytes?: Json
}

export interface Properties {
  /** When it should be done, as an ISO 8601 time with its offset; its owners are reminded. */
  due_at?: Json
  /** How long before that to remind, in seconds; a day, if it says nothing. */
  remind_before?: Json
  /** Words to find it by. */
  labels?: Array<Json> | Json
  [key: string]: unknown
}

export interface Reply {
  /** Who says to have written it; the log knows better. */
  author?: Json
  /** When, as an ISO 8601 time. */
  at?: Json
  /** What it says. */
  body?: string
  [key: string]: unknown
}

export interface Comment {
  /** Who says to have written it; the log knows better. */
  author?: Json
  /** When, as an ISO 8601 time. */
  at?: Json
  /** What it says. */
  body?: string
  /** What it is about: a relative position of Yjs, or a path such as `steps/3`. */
  anchor?: Json
  /** Whether it is settled. */
  resolved?: Json
  /** The answers, oldest first. */
  replies?: Array<Reply>
  [key: string]: unknown
}

export interface Plan {
  /** What it is called. */
  title?: Json
  /** What it is for. */
  description?: string
  /** What is done to each item. */
  operation?: Json
  /** What it is done to: a query, or the name of a table of items. */
  target?: Json
  /** How it is done. */
  parameters?: Record<string, Json> | Json
  /** When it must stop: failures, rates, times. */
  limits?: Record<string, Json> | Json
  [key: string]: unknown
}

export interface PlanStep {
  /** Its id, which never changes. */
  id?: Json
  /** What it is called. */
  title?: Json
  /** What it is for. */
  description?: string
  /** What is done to each item. */
  operation?: Json
  /** How it is done. */
  parameters?: Record<string, Json> | Json
  /** Ids of the steps that come before. */
  needs?: Array<Json> | Json
  [key: string]: unknown
}

export interface Cell {
  /** Its id, which never changes. */
  id?: Json
  /** `code`, `markdown` or `raw`. */
  cell_type?: Json
  /** What is written in it. */
  source?: string
  /** Its metadata. */
  metadata?: Record<string, Json> | Json
  /** Its attachments, by file name. */
  attachments?: Record<string, Json> | Json
  /** What running it gave. */
  outputs?: Array<Json> | Json
  /** Which run of the kernel that was. */
  execution_count?: Json
  /** `idle`, `busy` or `running`. */
  execution_state?: Json
  [key: string]: unknown
}

export interface NotebookMeta {
  /** The major version of the format: 4. */
  nbformat?: Json
  /** The minor version of the format. */
  nbformat_minor?: Json
  /** Kernel, language and the like. */
  metadata?: Record<string, Json> | Json
  [key: string]: unknown
}

export interface CodeSettings {
  /** The language it is written in. */
  language?: Json
  [key: string]: unknown
}

export interface WorkflowStep {
  /** Its id, which never changes. */
  id?: Json
  /** What it is called. */
  title?: Json
  /** What it is for. */
  description?: string
  /** What is done. */
  action?: Json
  /** What it is done with. */
  inputs?: Record<string, Json> | Json
  /** When it is done at all, as an expression of CEL. */
  condition?: Json
  /** Ids of the steps that come before. */
  needs?: Array<Json> | Json
  [key: string]: unknown
}

export interface DiagramNode {
  /** What kind of node it is. */
  type?: Json
  /** What is written on it. */
  label?: Json
  /** Where it stands: `x` and `y`. */
  position?: Json
  /** What else it carries. */
  data?: Record<string, Json> | Json
  [key: string]: unknown
}

export interface DiagramEdge {
  /** The id of the node where it begins. */
  source?: Json
  /** The id of the node where it ends. */
  target?: Json
  /** What is written on it. */
  label?: Json
  /** What else it carries. */
  data?: Record<string, Json> | Json
  [key: string]: unknown
}

export interface Sheet {
  /** What it is called. */
  title?: Json
  /** Where it stands among the sheets: they are sorted by it. */
  position?: Json
  /** Heights and the like, by number of the row. */
  rows?: Record<string, Json> | Json
  /** Widths and the like, by letter of the column. */
  columns?: Record<string, Json> | Json
  [key: string]: unknown
}

export interface SpreadsheetCell {
  /** What was typed in. */
  value?: Json
  /** The formula that it comes from. */
  formula?: Json
  /** How it is shown. */
  format?: Json
  [key: string]: unknown
}

export interface Slide {
  /** Its id, which never changes. */
  id?: Json
  /** Its title. */
  title?: string
  /** What it says, in Markdown. */
  body?: string
  /** What the speaker wants to say. */
  notes?: string
  /** How it is laid out. */
  layout?: Json
  /** Pictures, shapes and the like, by id. */
  elements?: Record<string, Json> | Json
  [key: string]: unknown
}

/** The JSON view: A request that people decide on. Who asks, who decided and where it stands is in its record. */
export interface ApprovalView {
  /** What is asked for. */
  request: ApprovalRequest
  /** What the template asks for, by the template's names. */
  fields: Record<string, Json>
  /** Files that belong to it; their bytes are kept elsewhere. */
  attachments: Array<Attachment>
  /** What is said about the artifact as a whole. No decision binds to it. */
  properties?: Properties
  /** Comments by id. */
  comments?: Record<string, Comment>
}

/** Its root types, as a Yjs client gets them by name. */
export interface ApprovalRoots {
  /** What is asked for. */
  request: Y.Map<Json | Y.Text | Y.Array<Json> | Json>
  /** What the template asks for, by the template's names. */
  fields: Y.Map<Json | Y.AbstractType<any>>
  /** Files that belong to it; their bytes are kept elsewhere. */
  attachments: Y.Array<Y.Map<Json>>
  /** What is said about the artifact as a whole. No decision binds to it. */
  properties: Y.Map<Json | Y.Array<Json> | Json>
  /** Comments by id. */
  comments: Y.Map<Y.Map<Json | Y.Text | Y.Array<Y.Map<Json | Y.Text>>>>
}

/** The JSON view: A job over many items, as people plan it. The items, progress and results are not part of the content. */
export interface PlanView {
  /** What the job is. */
  plan: Plan
  /** What is done, in order. */
  steps: Array<PlanStep>
  /** What is said about the artifact as a whole. No decision binds to it. */
  properties?: Properties
  /** Comments by id. */
  comments?: Record<string, Comment>
}

/** Its root types, as a Yjs client gets them by name. */
export interface PlanRoots {
  /** What the job is. */
  plan: Y.Map<Json | Y.Text | Y.Map<Json | Y.AbstractType<any>> | Json>
  /** What is done, in order. */
  steps: Y.Array<Y.Map<Json | Y.Text | Y.Map<Json | Y.AbstractType<any>> | Json | Y.Array<Json> | Json>>
  /** What is said about the artifact as a whole. No decision binds to it. */
  properties: Y.Map<Json | Y.Array<Json> | Json>
  /** Comments by id. */
  comments: Y.Map<Y.Map<Json | Y.Text | Y.Array<Y.Map<Json | Y.Text>>>>
}

/** The JSON view: A notebook with the cells of nbformat 4, in the shared model of Jupyter. */
export interface NotebookView {
  /** The cells, in order. */
  cells: Array<Cell>
  /** The notebook's own metadata. */
  meta: NotebookMeta
  /** What Jupyter notes of the file: `dirty`, `path`, ... */
  state: Record<string, Json>
  /** What is said about the artifact as a whole. No decision binds to it. */
  properties?: Properties
  /** Comments by id. */
  comments?: Record<string, Comment>
}

/** Its root types, as a Yjs client gets them by name. */
export interface NotebookRoots {
  /** The cells, in order. */
  cells: Y.Array<Y.Map<Json | Y.Text | Y.Map<Json | Y.AbstractType<any>> | Json | Y.Array<Json | Y.AbstractType<any>> | Json>>
  /** The notebook's own metadata. */
  meta: Y.Map<Json | Y.Map<Json | Y.AbstractType<any>> | Json | Json | Y.AbstractType<any>>
  /** What Jupyter notes of the file: `dirty`, `path`, ... */
  state: Y.Map<Json | Y.AbstractType<any>>
  /** What is said about the artifact as a whole. No decision binds to it. */
  properties: Y.Map<Json | Y.Array<Json> | Json>
  /** Comments by id. */
  comments: Y.Map<Y.Map<Json | Y.Text | Y.Array<Y.Map<Json | Y.Text>>>>
}

/** The JSON view: A text that people write together, with any stock editor. */
export interface TextView {
  /** The body. */
  text: string
  /** Where Tiptap keeps the body. */
  default?: string
  /** Where ProseMirror's binding keeps the body. */
  prosemirror?: string
  /** Where BlockNote keeps the body. */
  'document-store'?: string
  /** Where Quill's binding keeps the body. */
  quill?: string
  /** Where CodeMirror's binding keeps the body. */
  codemirror?: string
  /** Where Monaco's binding keeps the body. */
  monaco?: string
  /** What is said about the artifact as a whole. No decision binds to it. */
  properties?: Properties
  /** Comments by id. */
  comments?: Record<string, Comment>
  /** Where BlockNote keeps its comments. */
  threads?: Record<string, Json>
}

/** Its root types, as a Yjs client gets them by name. */
export interface TextRoots {
  /** The body. */
  text: Y.Text
  /** Where Tiptap keeps the body. */
  default: Y.XmlFragment
  /** Where ProseMirror's binding keeps the body. */
  prosemirror: Y.XmlFragment
  /** Where BlockNote keeps the body. */
  'document-store': Y.XmlFragment
  /** Where Quill's binding keeps the body. */
  quill: Y.Text
  /** Where CodeMirror's binding keeps the body. */
  codemirror: Y.Text
  /** Where Monaco's binding keeps the body. */
  monaco: Y.Text
  /** What is said about the artifact as a whole. No decision binds to it. */
  properties: Y.Map<Json | Y.Array<Json> | Json>
  /** Comments by id. */
  comments: Y.Map<Y.Map<Json | Y.Text | Y.Array<Y.Map<Json | Y.Text>>>>
  /** Where BlockNote keeps its comments. */
  threads: Y.Map<Json | Y.AbstractType<any>>
}

/** The JSON view: One source file. */
export interface CodeView {
  /** The source. */
  code: string
  /** Where editors of plain text keep the source. */
  text?: string
  /** Where CodeMirror's binding keeps the body. */
  codemirror?: string
  /** Where Monaco's binding keeps the body. */
  monaco?: string
  /** How it is read and run. */
  settings: CodeSettings
  /** What is said about the artifact as a whole. No decision binds to it. */
  properties?: Properties
  /** Comments by id. */
  comments?: Record<string, Comment>
}

/** Its root types, as a Yjs client gets them by name. */
export interface CodeRoots {
  /** The source. */
  code: Y.Text
  /** Where editors of plain text keep the source. */
  text: Y.Text
  /** Where CodeMirror's binding keeps the body. */
  codemirror: Y.Text
  /** Where Monaco's binding keeps the body. */
  monaco: Y.Text
  /** How it is read and run. */
  settings: Y.Map<Json | Json | Y.AbstractType<any>>
  /** What is said about the artifact as a whole. No decision binds to it. */
  properties: Y.Map<Json | Y.Array<Json> | Json>
  /** Comments by id. */
  comments: Y.Map<Y.Map<Json | Y.Text | Y.Array<Y.Map<Json | Y.Text>>>>
}

/** The JSON view: Settings as a tree, or as the text of a file. */
export interface ConfigurationView {
  /** The settings by name; nested maps merge entry by entry. */
  settings: Record<string, Json>
  /** The settings as the text of a file. */
  text?: string
  /** What is said about the artifact as a whole. No decision binds to it. */
  properties?: Properties
  /** Comments by id. */
  comments?: Record<string, Comment>
}

/** Its root types, as a Yjs client gets them by name. */
export interface ConfigurationRoots {
  /** The settings by name; nested maps merge entry by entry. */
  settings: Y.Map<Json | Y.AbstractType<any>>
  /** The settings as the text of a file. */
  text: Y.Text
  /** What is said about the artifact as a whole. No decision binds to it. */
  properties: Y.Map<Json | Y.Array<Json> | Json>
  /** Comments by id. */
  comments: Y.Map<Y.Map<Json | Y.Text | Y.Array<Y.Map<Json | Y.Text>>>>
}

/** The JSON view: Steps that follow each other, people's and machines'. */
export interface WorkflowView {
  /** The steps, in order. */
  steps: Array<WorkflowStep>
  /** What starts it, and what holds for all of it. */
  settings: Record<string, Json>
  /** What is said about the artifact as a whole. No decision binds to it. */
  properties?: Properties
  /** Comments by id. */
  comments?: Record<string, Comment>
}

/** Its root types, as a Yjs client gets them by name. */
export interface WorkflowRoots {
  /** The steps, in order. */
  steps: Y.Array<Y.Map<Json | Y.Text | Y.Map<Json | Y.AbstractType<any>> | Json | Y.Array<Json> | Json>>
  /** What starts it, and what holds for all of it. */
  settings: Y.Map<Json | Y.AbstractType<any>>
  /** What is said about the artifact as a whole. No decision binds to it. */
  properties: Y.Map<Json | Y.Array<Json> | Json>
  /** Comments by id. */
  comments: Y.Map<Y.Map<Json | Y.Text | Y.Array<Y.Map<Json | Y.Text>>>>
}

/** The JSON view: Nodes and the edges between them. */
export interface DiagramView {
  /** The nodes by id. */
  nodes: Record<string, DiagramNode | Json>
  /** The edges by id. */
  edges: Record<string, DiagramEdge | Json>
  /** What is said about the artifact as a whole. No decision binds to it. */
  properties?: Properties
  /** Comments by id. */
  comments?: Record<string, Comment>
}

/** Its root types, as a Yjs client gets them by name. */
export interface DiagramRoots {
  /** The nodes by id. */
  nodes: Y.Map<Y.Map<Json | Y.Map<Json | Y.AbstractType<any>> | Json> | Json>
  /** The edges by id. */
  edges: Y.Map<Y.Map<Json | Y.Map<Json | Y.AbstractType<any>> | Json> | Json>
  /** What is said about the artifact as a whole. No decision binds to it. */
  properties: Y.Map<Json | Y.Array<Json> | Json>
  /** Comments by id. */
  comments: Y.Map<Y.Map<Json | Y.Text | Y.Array<Y.Map<Json | Y.Text>>>>
}

/** The JSON view: Sheets of cells. */
export interface SpreadsheetView {
  /** The sheets by id. */
  sheets: Record<string, Sheet | Json>
  /** The cells by sheet and place, such as `sheet-1!B7`. */
  cells: Record<string, SpreadsheetCell | Json>
  /** What is said about the artifact as a whole. No decision binds to it. */
  properties?: Properties
  /** Comments by id. */
  comments?: Record<string, Comment>
}

/** Its root types, as a Yjs client gets them by name. */
export interface SpreadsheetRoots {
  /** The sheets by id. */
  sheets: Y.Map<Y.Map<Json | Y.Map<Json | Y.AbstractType<any>> | Json> | Json>
  /** The cells by sheet and place, such as `sheet-1!B7`. */
  cells: Y.Map<Y.Map<Json> | Json>
  /** What is said about the artifact as a whole. No decision binds to it. */
  properties: Y.Map<Json | Y.Array<Json> | Json>
  /** Comments by id. */
  comments: Y.Map<Y.Map<Json | Y.Text | Y.Array<Y.Map<Json | Y.Text>>>>
}

/** The JSON view: Slides in order. */
export interface PresentationView {
  /** The slides, in order. */
  slides: Array<Slide>
  /** Theme, size and the like. */
  settings: Record<string, Json>
  /** What is said about the artifact as a whole. No decision binds to it. */
  properties?: Properties
  /** Comments by id. */
  comments?: Record<string, Comment>
}

/** Its root types, as a Yjs client gets them by name. */
export interface PresentationRoots {
  /** The slides, in order. */
  slides: Y.Array<Y.Map<Json | Y.Text | Y.Map<Json | Y.AbstractType<any>> | Json>>
  /** Theme, size and the like. */
  settings: Y.Map<Json | Y.AbstractType<any>>
  /** What is said about the artifact as a whole. No decision binds to it. */
  properties: Y.Map<Json | Y.Array<Json> | Json>
  /** Comments by id. */
  comments: Y.Map<Y.Map<Json | Y.Text | Y.Array<Y.Map<Json | Y.Text>>>>
}

/** By the name of the kind. */
export interface Views {
  approval: ApprovalView
  plan: PlanView
  notebook: NotebookView
  text: TextView
  code: CodeView
  configuration: ConfigurationView
  workflow: WorkflowView
  diagram: DiagramView
  spreadsheet: SpreadsheetView
  presentation: PresentationView
}

/** By the name of the kind. */
export interface Roots {
  approval: ApprovalRoots
  plan: PlanRoots
  notebook: NotebookRoots
  text: TextRoots
  code: CodeRoots
  configuration: ConfigurationRoots
  workflow: WorkflowRoots
  diagram: DiagramRoots
  spreadsheet: SpreadsheetRoots
  presentation: PresentationRoots
}

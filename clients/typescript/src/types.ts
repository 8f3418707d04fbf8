// Made by `make generate` from the JSON Schemas in schemas/json: change those, not this file.
//
// A type says which fields there are and of which kind. What only the schema says (patterns, lengths,
// ranges) is for the worker to refuse, or for a validator of yours with the schema itself.

/** What is done with a finished call. */
export interface AnalysisPlan {
  min_messages_threshold?: number | null;
  summary_plan?: SummaryPlan | null;
  structured_data_plan?: StructuredDataPlan | null;
  structured_data_multi_plan?: StructuredDataMultiPlan[] | null;
  success_evaluation_plan?: SuccessEvaluationPlan | null;
}

/** Takes the names of a list. */
export interface AnthropicModel {
  messages?: ModelMessage[] | null;
  tools?: Record<string, unknown>[] | null;
  tool_ids?: string[] | null;
  knowledge_base?: Record<string, unknown> | null;
  knowledge_base_id?: string | null;
  temperature?: number | null;
  max_tokens?: number | null;
  emotion_recognition_enabled?: boolean | null;
  num_fast_turns?: number | null;
  provider: "anthropic";
  model: AnthropicModelName;
  toolIds?: never;
  knowledgeBase?: never;
  knowledgeBaseId?: never;
  maxTokens?: never;
  emotionRecognitionEnabled?: never;
  numFastTurns?: never;
  [key: string]: unknown;
}

export type AnthropicModelName =
  | "claude-3-opus-20240229"
  | "claude-3-sonnet-20240229"
  | "claude-3-haiku-20240307"
  | "claude-3-5-sonnet-20240620"
  | "claude-3-5-sonnet-20241022"
  | "claude-3-5-haiku-20241022"
  | "claude-3-7-sonnet-20250219"
  | "claude-opus-4-20250514"
  | "claude-sonnet-4-20250514";

/** The variants that require an id and take any. */
export interface AnyIdVoice {
  fallback_plan?: Record<string, unknown> | null;
  provider: AnyIdVoiceProvider;
  voice_id: string;
  fallbackPlan?: never;
  voiceId?: never;
  [key: string]: unknown;
}

export type AnyIdVoiceProvider =
  | "azure"
  | "cartesia"
  | "11labs"
  | "hume"
  | "lmnt"
  | "openai"
  | "playht"
  | "rime-ai"
  | "smallest-ai"
  | "tavus";

/** The variants that take a model of any name. */
export interface AnyNameModel {
  messages?: ModelMessage[] | null;
  tools?: Record<string, unknown>[] | null;
  tool_ids?: string[] | null;
  knowledge_base?: Record<string, unknown> | null;
  knowledge_base_id?: string | null;
  temperature?: number | null;
  max_tokens?: number | null;
  emotion_recognition_enabled?: boolean | null;
  num_fast_turns?: number | null;
  provider: AnyNameModelProvider;
  model: string;
  toolIds?: never;
  knowledgeBase?: never;
  knowledgeBaseId?: never;
  maxTokens?: never;
  emotionRecognitionEnabled?: never;
  numFastTurns?: never;
  [key: string]: unknown;
}

export type AnyNameModelProvider = "anyscale" | "deepinfra" | "openrouter" | "perplexity-ai" | "together-ai";

/** A key of any length. */
export interface ApiKeyCredential {
  name?: string | null;
  provider: ApiKeyCredentialProvider;
  api_key: string;
}

export type ApiKeyCredentialProvider =
  | "assembly-ai"
  | "cartesia"
  | "deepinfra"
  | "deep-seek"
  | "gladia"
  | "gohighlevel"
  | "groq"
  | "lmnt"
  | "neuphonic"
  | "openai"
  | "openrouter"
  | "perplexity-ai"
  | "rime-ai"
  | "runpod"
  | "smallest-ai"
  | "speechmatics"
  | "tavus"
  | "together-ai"
  | "trieve";

/** What is recorded, and where it is put. */
export interface ArtifactPlan {
  recording_enabled?: boolean | null;
  recording_format?: RecordingFormat | null;
  video_recording_enabled?: boolean | null;
  pcap_enabled?: boolean | null;
  pcap_s3_path_prefix?: string | null;
  transcript_plan?: TranscriptPlan | null;
  recording_path?: string | null;
}

/** What is done when a call ends; nothing is said any more. */
export interface AssistantHookCallEnding {
  on: "call.ending";
  do: (TransferAssistantHookAction | FunctionCallAssistantHookAction)[];
  filters?: AssistantHookFilter[] | null;
}

/** A condition: the value under `key` is one of a list. */
export interface AssistantHookFilter {
  type: "oneOf";
  key: string;
  one_of: string[];
}

/** What is done when the assistant or the customer is interrupted. */
export interface AssistantHookSpeechInterrupted {
  on: SpeechInterruption;
  do: (TransferAssistantHookAction | FunctionCallAssistantHookAction | SayAssistantHookAction)[];
}

/** What the assistant said, refused or asked of its tools. */
export interface AssistantMessage {
  role: "assistant";
  content?: string | null;
  refusal?: string | null;
  tool_calls?: ToolCall[] | null;
  name?: string | null;
}

/** The same fields, and the values of the customer's template variables. */
export interface AssistantOverrides {
  transcriber?: PlainTranscriber | CustomTranscriber | OpenAITranscriber | null;
  model?: AnyNameModel | AnthropicModel | CerebrasModel | CustomLLMModel | DeepSeekModel | GoogleModel | GroqModel | InflectionAIModel | OpenAIModel | XaiModel | null;
  voice?: AnyIdVoice | CustomVoice | DeepgramVoice | NeuphonicVoice | VapiVoice | SesameVoice | null;
  first_message?: string | null;
  first_message_interruptions_enabled?: boolean | null;
  first_message_mode?: FirstMessageMode | null;
  voicemail_detection?: ModelVoicemailDetectionPlan | TwilioVoicemailDetectionPlan | null;
  client_messages?: ClientMessage[] | null;
  server_messages?: ServerMessage[] | null;
  silence_timeout_seconds?: number | null;
  max_duration_seconds?: number | null;
  /** `off`, `office` or a URI */
  background_sound?: string | null;
  background_denoising_enabled?: boolean | null;
  model_output_in_messages_enabled?: boolean | null;
  transport_configurations?: TransportConfigurationTwilio[] | null;
  observability_plan?: LangfuseObservabilityPlan | null;
  credentials?: (ApiKeyCredential | LimitedApiKeyCredential | AuthorizationCredential | CreateAzureCredentialDTO | CreateAzureOpenAICredentialDTO | CreateByoSipTrunkCredentialDTO | CreateCloudflareCredentialDTO | CreateCustomLLMCredentialDTO | CreateDeepgramCredentialDTO | CreateGcpCredentialDTO | CreateLangfuseCredentialDTO | CreateMakeCredentialDTO | CreateMistralCredentialDTO | CreatePlayHTCredentialDTO | CreateS3CredentialDTO | CreateSupabaseCredentialDTO | CreateTwilioCredentialDTO | CreateVonageCredentialDTO | CreateWebhookCredentialDTO | CreateGoogleCalendarOAuth2ClientCredentialDTO | CreateGoHighLevelMCPCredentialDTO)[] | null;
  hooks?: (AssistantHookCallEnding | AssistantHookSpeechInterrupted)[] | null;
  name?: string | null;
  voicemail_message?: string | null;
  end_call_message?: string | null;
  end_call_phrases?: string[] | null;
  compliance_plan?: CompliancePlan | null;
  metadata?: Record<string, unknown> | null;
  background_speech_denoising_plan?: BackgroundSpeechDenoisingPlan | null;
  analysis_plan?: AnalysisPlan | null;
  artifact_plan?: ArtifactPlan | null;
  message_plan?: MessagePlan | null;
  start_speaking_plan?: StartSpeakingPlan | null;
  stop_speaking_plan?: StopSpeakingPlan | null;
  monitor_plan?: MonitorPlan | null;
  credential_ids?: string[] | null;
  server?: Server | null;
  keypad_input_plan?: KeypadInputPlan | null;
  variable_values?: Record<string, unknown> | null;
}

/** A reference to an authorisation given elsewhere. */
export interface AuthorizationCredential {
  name?: string | null;
  provider: AuthorizationCredentialProvider;
  authorization_id: string;
}

export type AuthorizationCredentialProvider =
  | "google.calendar.oauth2-authorization"
  | "google.sheets.oauth2-authorization"
  | "slack.oauth2-authorization";

/** A container at Azure. */
export interface AzureBlobStorageBucketPlan {
  connection_string: string;
  container_name: string;
  path?: string | null;
}

export type AzureOpenAIModelName =
  | "gpt-4.1-2025-04-14"
  | "gpt-4.1-mini-2025-04-14"
  | "gpt-4.1-nano-2025-04-14"
  | "gpt-4o-2024-11-20"
  | "gpt-4o-2024-08-06"
  | "gpt-4o-2024-05-13"
  | "gpt-4o-mini-2024-07-18"
  | "gpt-4-turbo-2024-04-09"
  | "gpt-4-0125-preview"
  | "gpt-4-1106-preview"
  | "gpt-4-0613"
  | "gpt-35-turbo-0125"
  | "gpt-35-turbo-1106";

export type AzureRegion =
  | "australia"
  | "canadaeast"
  | "canadacentral"
  | "eastus2"
  | "eastus"
  | "france"
  | "india"
  | "japaneast"
  | "japanwest"
  | "uaenorth"
  | "northcentralus"
  | "norway"
  | "southcentralus"
  | "swedencentral"
  | "switzerland"
  | "uk"
  | "westus"
  | "westus3";

export type AzureService = "speech" | "blob_storage";

/** The two ways of removing noise, in the order they run. */
export interface BackgroundSpeechDenoisingPlan {
  smart_denoising_plan?: SmartDenoisingPlan | null;
  fourier_denoising_plan?: FourierDenoisingPlan | null;
}

/** How a failed call of a server is repeated. */
export interface BackoffPlan {
  type: BackoffType;
  max_retries: number;
  base_delay_seconds: number;
}

export type BackoffType = "fixed" | "exponential";

/** A rule on what both said last. */
export interface BothCustomEndpointingRule {
  type: "both";
  assistant_regex: string;
  assistant_regex_options?: RegexOption[] | null;
  customer_regex: string;
  customer_regex_options?: RegexOption[] | null;
  timeout_seconds: number;
}

/** A bucket at Google. */
export interface BucketPlan {
  name: string;
  region?: string | null;
  path?: string | null;
  hmac_access_key?: string | null;
  hmac_secret?: string | null;
}

/** Cancels the request of this id if it is not finished; `reason` is told to who asked for the session. */
export interface CancelSessionRequest {
  request_id: string;
  operation: "cancel_session";
  reason?: string | null;
}

/** Takes the names of a list. */
export interface CerebrasModel {
  messages?: ModelMessage[] | null;
  tools?: Record<string, unknown>[] | null;
  tool_ids?: string[] | null;
  knowledge_base?: Record<string, unknown> | null;
  knowledge_base_id?: string | null;
  temperature?: number | null;
  max_tokens?: number | null;
  emotion_recognition_enabled?: boolean | null;
  num_fast_turns?: number | null;
  provider: "cerebras";
  model: CerebrasModelName;
  toolIds?: never;
  knowledgeBase?: never;
  knowledgeBaseId?: never;
  maxTokens?: never;
  emotionRecognitionEnabled?: never;
  numFastTurns?: never;
  [key: string]: unknown;
}

export type CerebrasModelName = "llama3.1-8b" | "llama-3.3-70b";

export type ClientMessage =
  | "conversation-update"
  | "function-call"
  | "function-call-result"
  | "hang"
  | "language-changed"
  | "metadata"
  | "model-output"
  | "speech-update"
  | "status-update"
  | "transcript"
  | "tool-calls"
  | "tool-calls-result"
  | "tool.completed"
  | "transfer-update"
  | "user-interrupted"
  | "voice-input"
  | "workflow.node.started";

/** A bucket at Cloudflare. */
export interface CloudflareR2BucketPlan {
  name: string;
  access_key_id?: string | null;
  secret_access_key?: string | null;
  url?: string | null;
  path?: string | null;
}

/** There is a session. */
export interface CompletedResponse {
  request_id: string;
  payload: ResponsePayload;
  timestamp: string;
  status: "completed";
  error: null;
  /** What the worker, or its handler, has to say of the session */
  metadata: Record<string, unknown>;
}

/** What must not be kept. */
export interface CompliancePlan {
  hipaa_enabled?: boolean | null;
  pci_enabled?: boolean | null;
}

/** An assistant; no field of it is required. `credentials` are secret as a whole. */
export interface CreateAssistantDTO {
  transcriber?: PlainTranscriber | CustomTranscriber | OpenAITranscriber | null;
  model?: AnyNameModel | AnthropicModel | CerebrasModel | CustomLLMModel | DeepSeekModel | GoogleModel | GroqModel | InflectionAIModel | OpenAIModel | XaiModel | null;
  voice?: AnyIdVoice | CustomVoice | DeepgramVoice | NeuphonicVoice | VapiVoice | SesameVoice | null;
  first_message?: string | null;
  first_message_interruptions_enabled?: boolean | null;
  first_message_mode?: FirstMessageMode | null;
  voicemail_detection?: ModelVoicemailDetectionPlan | TwilioVoicemailDetectionPlan | null;
  client_messages?: ClientMessage[] | null;
  server_messages?: ServerMessage[] | null;
  silence_timeout_seconds?: number | null;
  max_duration_seconds?: number | null;
  /** `off`, `office` or a URI */
  background_sound?: string | null;
  background_denoising_enabled?: boolean | null;
  model_output_in_messages_enabled?: boolean | null;
  transport_configurations?: TransportConfigurationTwilio[] | null;
  observability_plan?: LangfuseObservabilityPlan | null;
  credentials?: (ApiKeyCredential | LimitedApiKeyCredential | AuthorizationCredential | CreateAzureCredentialDTO | CreateAzureOpenAICredentialDTO | CreateByoSipTrunkCredentialDTO | CreateCloudflareCredentialDTO | CreateCustomLLMCredentialDTO | CreateDeepgramCredentialDTO | CreateGcpCredentialDTO | CreateLangfuseCredentialDTO | CreateMakeCredentialDTO | CreateMistralCredentialDTO | CreatePlayHTCredentialDTO | CreateS3CredentialDTO | CreateSupabaseCredentialDTO | CreateTwilioCredentialDTO | CreateVonageCredentialDTO | CreateWebhookCredentialDTO | CreateGoogleCalendarOAuth2ClientCredentialDTO | CreateGoHighLevelMCPCredentialDTO)[] | null;
  hooks?: (AssistantHookCallEnding | AssistantHookSpeechInterrupted)[] | null;
  name?: string | null;
  voicemail_message?: string | null;
  end_call_message?: string | null;
  end_call_phrases?: string[] | null;
  compliance_plan?: CompliancePlan | null;
  metadata?: Record<string, unknown> | null;
  background_speech_denoising_plan?: BackgroundSpeechDenoisingPlan | null;
  analysis_plan?: AnalysisPlan | null;
  artifact_plan?: ArtifactPlan | null;
  message_plan?: MessagePlan | null;
  start_speaking_plan?: StartSpeakingPlan | null;
  stop_speaking_plan?: StopSpeakingPlan | null;
  monitor_plan?: MonitorPlan | null;
  credential_ids?: string[] | null;
  server?: Server | null;
  keypad_input_plan?: KeypadInputPlan | null;
}

/** Speech or storage at Azure. */
export interface CreateAzureCredentialDTO {
  name?: string | null;
  provider: "azure";
  service: AzureService;
  region?: AzureRegion | null;
  api_key?: string | null;
  fallback_index?: number | null;
  bucket_plan?: AzureBlobStorageBucketPlan | null;
}

/** Models at Azure. */
export interface CreateAzureOpenAICredentialDTO {
  name?: string | null;
  provider: "azure-openai";
  region: AzureRegion;
  models: AzureOpenAIModelName[];
  open_ai_key: string;
  ocp_apim_subscription_key?: string | null;
  open_ai_endpoint: string;
}

/** A SIP trunk of one's own. Gateways and border controller are free-form in this contract. */
export interface CreateByoSipTrunkCredentialDTO {
  name?: string | null;
  provider: "byo-sip-trunk";
  gateways: Record<string, unknown>[];
  outbound_authentication_plan?: SipTrunkOutboundAuthenticationPlan | null;
  outbound_leading_plus_enabled?: boolean | null;
  tech_prefix?: string | null;
  sip_diversion_header?: string | null;
  sbc_configuration?: Record<string, unknown> | null;
}

/** Storage at Cloudflare. */
export interface CreateCloudflareCredentialDTO {
  name?: string | null;
  provider: "cloudflare";
  account_id?: string | null;
  api_key?: string | null;
  account_email?: string | null;
  fallback_index?: number | null;
  bucket_plan?: CloudflareR2BucketPlan | null;
}

/** A model of one's own. */
export interface CreateCustomLLMCredentialDTO {
  name?: string | null;
  provider: "custom-llm";
  api_key: string;
  authentication_plan?: OAuth2AuthenticationPlan | null;
}

/** The customer, with changes to the assistant for them alone. */
export interface CreateCustomerDTO {
  number_e164_check_enabled?: boolean | null;
  extension?: string | null;
  assistant_overrides?: AssistantOverrides | null;
  number?: string | null;
  sip_uri?: string | null;
  name?: string | null;
}

/** A key, for a host of one's own if need be. */
export interface CreateDeepgramCredentialDTO {
  name?: string | null;
  provider: "deepgram";
  api_key: string;
  api_url?: string | null;
}

/** Storage at Google. */
export interface CreateGcpCredentialDTO {
  name?: string | null;
  provider: "gcp";
  fallback_index?: number | null;
  gcp_key: GcpKey;
  region?: string | null;
  bucket_plan?: BucketPlan | null;
}

/** Tokens that were obtained. */
export interface CreateGoHighLevelMCPCredentialDTO {
  name?: string | null;
  provider: "ghl.oauth2-authorization";
  authentication_session: Oauth2AuthenticationSession;
}

/** Nothing but the provider. */
export interface CreateGoogleCalendarOAuth2ClientCredentialDTO {
  name?: string | null;
  provider: "google.calendar.oauth2-client";
}

/** Where traces go. */
export interface CreateLangfuseCredentialDTO {
  name?: string | null;
  provider: "langfuse";
  public_key: string;
  api_key: string;
  api_url: string;
}

/** A team at Make. */
export interface CreateMakeCredentialDTO {
  name?: string | null;
  provider: "make";
  team_id: string;
  region: string;
  api_key: string;
}

/** A short key. */
export interface CreateMistralCredentialDTO {
  name?: string | null;
  provider: "mistral";
  api_key: string;
}

/** A key and its user. */
export interface CreatePlayHTCredentialDTO {
  name?: string | null;
  provider: "playht";
  api_key: string;
  user_id: string;
}

/** Storage at Amazon. */
export interface CreateS3CredentialDTO {
  name?: string | null;
  provider: "s3";
  aws_access_key_id: string;
  aws_secret_access_key: string;
  region: string;
  s3_bucket_name: string;
  s3_path_prefix: string;
  fallback_index?: number | null;
}

/** The payload of a create-session request. */
export interface CreateSessionPayload {
  name?: string | null;
  status?: SessionState | null;
  expiration_seconds?: number | null;
  assistant_id?: string | null;
  assistant?: CreateAssistantDTO | null;
  messages?: (SystemMessage | UserMessage | AssistantMessage | ToolMessage | DeveloperMessage)[] | null;
  customer?: CreateCustomerDTO | null;
  phone_number_id?: string | null;
  phone_number?: ImportTwilioPhoneNumberDTO | null;
  casefile_id?: string | null;
}

/** A request to create a session; `request_id` is its idempotency key. */
export interface CreateSessionRequest {
  request_id: string;
  org_id: string;
  user_id?: string | null;
  operation: "create_session";
  payload: CreateSessionPayload;
  /** When the request was made, in ISO 8601 */
  timestamp?: string | null;
  metadata?: Record<string, unknown> | null;
}

/** What a worker of this version sends, exactly. Later ones may add fields, keys and failure codes: generate code and write tests from this one; to check what arrives, take the document without `strict`. */
export type CreateSessionResponse = CompletedResponse | FailedResponse;

/** Storage at Supabase. */
export interface CreateSupabaseCredentialDTO {
  name?: string | null;
  provider: "supabase";
  fallback_index?: number | null;
  bucket_plan?: SupabaseBucketPlan | null;
}

/** A token, or a key with its secret. */
export interface CreateTwilioCredentialDTO {
  name?: string | null;
  provider: "twilio";
  auth_token?: string | null;
  api_key?: string | null;
  api_secret?: string | null;
  account_sid: string;
}

/** A key with its secret. */
export interface CreateVonageCredentialDTO {
  name?: string | null;
  provider: "vonage";
  api_secret: string;
  api_key: string;
}

/** How a webhook's token is obtained. */
export interface CreateWebhookCredentialDTO {
  name?: string | null;
  provider: "webhook";
  authentication_plan: OAuth2AuthenticationPlan;
}

/** A model of one's own, behind a URL. */
export interface CustomLLMModel {
  messages?: ModelMessage[] | null;
  tools?: Record<string, unknown>[] | null;
  tool_ids?: string[] | null;
  knowledge_base?: Record<string, unknown> | null;
  knowledge_base_id?: string | null;
  temperature?: number | null;
  max_tokens?: number | null;
  emotion_recognition_enabled?: boolean | null;
  num_fast_turns?: number | null;
  provider: "custom-llm";
  url: string;
  model: string;
  toolIds?: never;
  knowledgeBase?: never;
  knowledgeBaseId?: never;
  maxTokens?: never;
  emotionRecognitionEnabled?: never;
  numFastTurns?: never;
  [key: string]: unknown;
}

/** A spoken message, with a variant a language. */
export interface CustomMessage {
  contents?: TextContent[] | null;
  type: "custom-message";
  content?: string | null;
}

/** A transcriber of one's own, behind a server. */
export interface CustomTranscriber {
  fallback_plan?: Record<string, unknown> | null;
  provider: "custom-transcriber";
  server: Server;
  fallbackPlan?: never;
  [key: string]: unknown;
}

/** A voice of one's own, behind a server. */
export interface CustomVoice {
  fallback_plan?: Record<string, unknown> | null;
  provider: "custom-voice";
  server: Server;
  fallbackPlan?: never;
  [key: string]: unknown;
}

/** Takes the names of a list. */
export interface DeepSeekModel {
  messages?: ModelMessage[] | null;
  tools?: Record<string, unknown>[] | null;
  tool_ids?: string[] | null;
  knowledge_base?: Record<string, unknown> | null;
  knowledge_base_id?: string | null;
  temperature?: number | null;
  max_tokens?: number | null;
  emotion_recognition_enabled?: boolean | null;
  num_fast_turns?: number | null;
  provider: "deep-seek";
  model: DeepSeekModelName;
  toolIds?: never;
  knowledgeBase?: never;
  knowledgeBaseId?: never;
  maxTokens?: never;
  emotionRecognitionEnabled?: never;
  numFastTurns?: never;
  [key: string]: unknown;
}

export type DeepSeekModelName = "deepseek-chat" | "deepseek-reasoner";

/** Takes the ids of a list. */
export interface DeepgramVoice {
  fallback_plan?: Record<string, unknown> | null;
  provider: "deepgram";
  voice_id: DeepgramVoiceId;
  fallbackPlan?: never;
  voiceId?: never;
  [key: string]: unknown;
}

export type DeepgramVoiceId =
  | "asteria"
  | "luna"
  | "stella"
  | "athena"
  | "hera"
  | "orion"
  | "arcas"
  | "perseus"
  | "angus"
  | "orpheus"
  | "helios"
  | "zeus"
  | "thalia"
  | "andromeda"
  | "helena"
  | "apollo"
  | "aries"
  | "amalthea"
  | "atlas"
  | "aurora"
  | "callista"
  | "cora"
  | "cordelia"
  | "delia"
  | "draco"
  | "electra"
  | "harmonia"
  | "hermes"
  | "hyperion"
  | "iris"
  | "janus"
  | "juno"
  | "jupiter"
  | "mars"
  | "minerva"
  | "neptune"
  | "odysseus"
  | "ophelia"
  | "pandora"
  | "phoebe"
  | "pluto"
  | "saturn"
  | "selene"
  | "theia"
  | "vesta";

/** Instructions of the developer. */
export interface DeveloperMessage {
  role: "developer";
  content: string;
  name?: string | null;
}

/** There is no session, and why. */
export interface FailedResponse {
  request_id: string;
  payload: ResponsePayload;
  timestamp: string;
  status: "failed";
  /** A sentence for people */
  error: string;
  metadata: FailureMetadata;
}

/** Why a request failed, for programs: it stands in `metadata.code` of the response. */
export type FailureCode =
  | "invalid_request"
  | "request_id_conflict"
  | "deadline_exceeded"
  | "attempts_exhausted"
  | "rejected"
  | "secrets_refused"
  | "too_large"
  | "cancelled"
  | "not_allowed";

/** Why there is no session, for programs. */
export interface FailureMetadata {
  code: FailureCode;
  /** Always there if the code is `invalid_request` */
  errors?: FieldError[];
  /** Only there if nothing was recorded: the same id may be sent again */
  recorded?: false;
}

/** What is wrong with one field of a request; never the value that was sent. */
export interface FieldError {
  /** Its path, or what else is meant, in parentheses */
  field: string;
  reason: string;
}

export type FirstMessageMode =
  | "assistant-speaks-first"
  | "assistant-speaks-first-with-model-generated-message"
  | "assistant-waits-for-user";

/** Noise removal by spectrum. */
export interface FourierDenoisingPlan {
  enabled?: boolean | null;
  media_detection_enabled?: boolean | null;
  static_threshold?: number | null;
  baseline_offset_db?: number | null;
  window_size_ms?: number | null;
  baseline_percentile?: number | null;
}

/** Call a function of a server. */
export interface FunctionCallAssistantHookAction {
  messages?: Record<string, unknown>[] | null;
  type: "function";
  async?: boolean | null;
  server?: Server | null;
  function?: Record<string, unknown> | null;
}

/** A service account's key file. */
export interface GcpKey {
  type: string;
  project_id: string;
  private_key_id: string;
  private_key: string;
  client_email: string;
  client_id: string;
  auth_uri: string;
  token_uri: string;
  auth_provider_x509_cert_url: string;
  client_x509_cert_url: string;
  universe_domain: string;
}

/** Takes the names of a list. */
export interface GoogleModel {
  messages?: ModelMessage[] | null;
  tools?: Record<string, unknown>[] | null;
  tool_ids?: string[] | null;
  knowledge_base?: Record<string, unknown> | null;
  knowledge_base_id?: string | null;
  temperature?: number | null;
  max_tokens?: number | null;
  emotion_recognition_enabled?: boolean | null;
  num_fast_turns?: number | null;
  provider: "google";
  model: GoogleModelName;
  toolIds?: never;
  knowledgeBase?: never;
  knowledgeBaseId?: never;
  maxTokens?: never;
  emotionRecognitionEnabled?: never;
  numFastTurns?: never;
  [key: string]: unknown;
}

export type GoogleModelName =
  | "gemini-2.5-pro-preview-05-06"
  | "gemini-2.5-flash-preview-05-20"
  | "gemini-2.5-flash-preview-04-17"
  | "gemini-2.0-flash-thinking-exp"
  | "gemini-2.0-pro-exp-02-05"
  | "gemini-2.0-flash"
  | "gemini-2.0-flash-lite"
  | "gemini-2.0-flash-lite-preview-02-05"
  | "gemini-2.0-flash-exp"
  | "gemini-2.0-flash-realtime-exp"
  | "gemini-1.5-flash"
  | "gemini-1.5-flash-002"
  | "gemini-1.5-pro"
  | "gemini-1.5-pro-002"
  | "gemini-1.0-pro";

/** Takes the names of a list. */
export interface GroqModel {
  messages?: ModelMessage[] | null;
  tools?: Record<string, unknown>[] | null;
  tool_ids?: string[] | null;
  knowledge_base?: Record<string, unknown> | null;
  knowledge_base_id?: string | null;
  temperature?: number | null;
  max_tokens?: number | null;
  emotion_recognition_enabled?: boolean | null;
  num_fast_turns?: number | null;
  provider: "groq";
  model: GroqModelName;
  toolIds?: never;
  knowledgeBase?: never;
  knowledgeBaseId?: never;
  maxTokens?: never;
  emotionRecognitionEnabled?: never;
  numFastTurns?: never;
  [key: string]: unknown;
}

export type GroqModelName =
  | "deepseek-r1-distill-llama-70b"
  | "llama-3.3-70b-versatile"
  | "llama-3.1-405b-reasoning"
  | "llama-3.1-8b-instant"
  | "llama3-8b-8192"
  | "llama3-70b-8192"
  | "gemma2-9b-it"
  | "meta-llama/llama-4-maverick-17b-128e-instruct"
  | "meta-llama/llama-4-scout-17b-16e-instruct"
  | "mistral-saba-24b"
  | "compound-beta"
  | "compound-beta-mini";

/** The number's set-up. The token, the key and the API secret are secret. */
export interface ImportTwilioPhoneNumberDTO {
  fallback_destination?: TransferDestinationNumber | TransferDestinationSip | null;
  hooks?: PhoneNumberHookCallRinging[] | null;
  sms_enabled?: boolean | null;
  twilio_phone_number: string;
  twilio_account_sid: string;
  twilio_auth_token?: string | null;
  twilio_api_key?: string | null;
  twilio_api_secret?: string | null;
  name?: string | null;
  assistant_id?: string | null;
  workflow_id?: string | null;
  squad_id?: string | null;
  server?: Server | null;
}

/** Takes the names of a list. */
export interface InflectionAIModel {
  messages?: ModelMessage[] | null;
  tools?: Record<string, unknown>[] | null;
  tool_ids?: string[] | null;
  knowledge_base?: Record<string, unknown> | null;
  knowledge_base_id?: string | null;
  temperature?: number | null;
  max_tokens?: number | null;
  emotion_recognition_enabled?: boolean | null;
  num_fast_turns?: number | null;
  provider: "inflection-ai";
  model: InflectionAIModelName;
  toolIds?: never;
  knowledgeBase?: never;
  knowledgeBaseId?: never;
  maxTokens?: never;
  emotionRecognitionEnabled?: never;
  numFastTurns?: never;
  [key: string]: unknown;
}

export type InflectionAIModelName = "inflection_3_pi";

export type KeypadDelimiter = "#" | "*" | "";

/** How keys pressed on a telephone are read; the empty string is a delimiter too. */
export interface KeypadInputPlan {
  enabled?: boolean | null;
  timeout_seconds?: number | null;
  delimiters?: KeypadDelimiter | null;
}

/** Where traces go. */
export interface LangfuseObservabilityPlan {
  provider: "langfuse";
  tags: string[];
  metadata?: Record<string, unknown> | null;
}

export type Language =
  | "aa"
  | "ab"
  | "ae"
  | "af"
  | "ak"
  | "am"
  | "an"
  | "ar"
  | "as"
  | "av"
  | "ay"
  | "az"
  | "ba"
  | "be"
  | "bg"
  | "bh"
  | "bi"
  | "bm"
  | "bn"
  | "bo"
  | "br"
  | "bs"
  | "ca"
  | "ce"
  | "ch"
  | "co"
  | "cr"
  | "cs"
  | "cu"
  | "cv"
  | "cy"
  | "da"
  | "de"
  | "dv"
  | "dz"
  | "ee"
  | "el"
  | "en"
  | "eo"
  | "es"
  | "et"
  | "eu"
  | "fa"
  | "ff"
  | "fi"
  | "fj"
  | "fo"
  | "fr"
  | "fy"
  | "ga"
  | "gd"
  | "gl"
  | "gn"
  | "gu"
  | "gv"
  | "ha"
  | "he"
  | "hi"
  | "ho"
  | "hr"
  | "ht"
  | "hu"
  | "hy"
  | "hz"
  | "ia"
  | "id"
  | "ie"
  | "ig"
  | "ii"
  | "ik"
  | "io"
  | "is"
  | "it"
  | "iu"
  | "ja"
  | "jv"
  | "ka"
  | "kg"
  | "ki"
  | "kj"
  | "kk"
  | "kl"
  | "km"
  | "kn"
  | "ko"
  | "kr"
  | "ks"
  | "ku"
  | "kv"
  | "kw"
  | "ky"
  | "la"
  | "lb"
  | "lg"
  | "li"
  | "ln"
  | "lo"
  | "lt"
  | "lu"
  | "lv"
  | "mg"
  | "mh"
  | "mi"
  | "mk"
  | "ml"
  | "mn"
  | "mr"
  | "ms"
  | "mt"
  | "my"
  | "na"
  | "nb"
  | "nd"
  | "ne"
  | "ng"
  | "nl"
  | "nn"
  | "no"
  | "nr"
  | "nv"
  | "ny"
  | "oc"
  | "oj"
  | "om"
  | "or"
  | "os"
  | "pa"
  | "pi"
  | "pl"
  | "ps"
  | "pt"
  | "qu"
  | "rm"
  | "rn"
  | "ro"
  | "ru"
  | "rw"
  | "sa"
  | "sc"
  | "sd"
  | "se"
  | "sg"
  | "si"
  | "sk"
  | "sl"
  | "sm"
  | "sn"
  | "so"
  | "sq"
  | "sr"
  | "ss"
  | "st"
  | "su"
  | "sv"
  | "sw"
  | "ta"
  | "te"
  | "tg"
  | "th"
  | "ti"
  | "tk"
  | "tl"
  | "tn"
  | "to"
  | "tr"
  | "ts"
  | "tt"
  | "tw"
  | "ty"
  | "ug"
  | "uk"
  | "ur"
  | "uz"
  | "ve"
  | "vi"
  | "vo"
  | "wa"
  | "wo"
  | "xh"
  | "yi"
  | "yue"
  | "yo"
  | "za"
  | "zh"
  | "zu";

/** A key of limited length. */
export interface LimitedApiKeyCredential {
  name?: string | null;
  provider: LimitedApiKeyCredentialProvider;
  api_key: string;
}

export type LimitedApiKeyCredentialProvider =
  | "anthropic"
  | "anyscale"
  | "cerebras"
  | "11labs"
  | "google"
  | "hume"
  | "inflection-ai"
  | "xai";

/** The fixed messages for a silent customer. */
export interface MessagePlan {
  idle_messages?: string[] | null;
  idle_message_max_spoken_count?: number | null;
  idle_message_reset_count_on_user_speech_enabled?: boolean | null;
  idle_timeout_seconds?: number | null;
  silence_timeout_message?: string | null;
}

/** A message as the model's provider takes it: `content` has to be there and may be null. */
export interface ModelMessage {
  role: ModelMessageRole;
  content: string | null;
  [key: string]: unknown;
}

export type ModelMessageRole = "assistant" | "function" | "user" | "system" | "tool";

/** Detection by a model that listens. */
export interface ModelVoicemailDetectionPlan {
  provider: ModelVoicemailDetectionProvider;
  beep_max_await_seconds?: number | null;
  backoff_plan?: VoicemailDetectionBackoffPlan | null;
}

export type ModelVoicemailDetectionProvider = "google" | "openai" | "vapi";

/** Who may listen in or take control. */
export interface MonitorPlan {
  listen_enabled?: boolean | null;
  listen_authentication_enabled?: boolean | null;
  control_enabled?: boolean | null;
  control_authentication_enabled?: boolean | null;
}

/** Requires a language: an object by its type, a string by its example, so either passes. */
export interface NeuphonicVoice {
  fallback_plan?: Record<string, unknown> | null;
  provider: "neuphonic";
  voice_id: string;
  language: Record<string, unknown> | string;
  fallbackPlan?: never;
  voiceId?: never;
  [key: string]: unknown;
}

/** How a token is obtained. */
export interface OAuth2AuthenticationPlan {
  type: OAuth2AuthenticationType;
  url: string;
  client_id: string;
  client_secret: string;
  scope?: string | null;
}

export type OAuth2AuthenticationType = "oauth2" | "aws-sts";

/** Tokens that were obtained. */
export interface Oauth2AuthenticationSession {
  access_token?: string | null;
  expires_at?: string | null;
  refresh_token?: string | null;
}

/** A rule on what the assistant or the customer said last. */
export interface OneSidedEndpointingRule {
  type: OneSidedEndpointingRuleType;
  regex: string;
  regex_options?: RegexOption[] | null;
  timeout_seconds: number;
}

export type OneSidedEndpointingRuleType = "assistant" | "customer";

/** Takes the names of a list. */
export interface OpenAIModel {
  messages?: ModelMessage[] | null;
  tools?: Record<string, unknown>[] | null;
  tool_ids?: string[] | null;
  knowledge_base?: Record<string, unknown> | null;
  knowledge_base_id?: string | null;
  temperature?: number | null;
  max_tokens?: number | null;
  emotion_recognition_enabled?: boolean | null;
  num_fast_turns?: number | null;
  provider: "openai";
  model: OpenAIModelName;
  toolIds?: never;
  knowledgeBase?: never;
  knowledgeBaseId?: never;
  maxTokens?: never;
  emotionRecognitionEnabled?: never;
  numFastTurns?: never;
  [key: string]: unknown;
}

export type OpenAIModelName =
  | "gpt-4.1-2025-04-14"
  | "gpt-4.1-mini-2025-04-14"
  | "gpt-4.1-nano-2025-04-14"
  | "gpt-4.1"
  | "gpt-4.1-mini"
  | "gpt-4.1-nano"
  | "gpt-4.5-preview"
  | "chatgpt-4o-latest"
  | "o3"
  | "o3-mini"
  | "o4-mini"
  | "o1-preview"
  | "o1-preview-2024-09-12"
  | "o1-mini"
  | "o1-mini-2024-09-12"
  | "gpt-4o-realtime-preview-2024-10-01"
  | "gpt-4o-realtime-preview-2024-12-17"
  | "gpt-4o-mini-realtime-preview-2024-12-17"
  | "gpt-4o-mini-2024-07-18"
  | "gpt-4o-mini"
  | "gpt-4o"
  | "gpt-4o-2024-05-13"
  | "gpt-4o-2024-08-06"
  | "gpt-4o-2024-11-20"
  | "gpt-4-turbo"
  | "gpt-4-turbo-2024-04-09"
  | "gpt-4-turbo-preview"
  | "gpt-4-0125-preview"
  | "gpt-4-1106-preview"
  | "gpt-4"
  | "gpt-4-0613"
  | "gpt-3.5-turbo"
  | "gpt-3.5-turbo-0125"
  | "gpt-3.5-turbo-1106"
  | "gpt-3.5-turbo-16k"
  | "gpt-3.5-turbo-0613"
  | "gpt-4.1-2025-04-14:westus"
  | "gpt-4.1-2025-04-14:eastus2"
  | "gpt-4.1-2025-04-14:eastus"
  | "gpt-4.1-2025-04-14:westus3"
  | "gpt-4.1-2025-04-14:northcentralus"
  | "gpt-4.1-2025-04-14:southcentralus"
  | "gpt-4.1-mini-2025-04-14:westus"
  | "gpt-4.1-mini-2025-04-14:eastus2"
  | "gpt-4.1-mini-2025-04-14:eastus"
  | "gpt-4.1-mini-2025-04-14:westus3"
  | "gpt-4.1-mini-2025-04-14:northcentralus"
  | "gpt-4.1-mini-2025-04-14:southcentralus"
  | "gpt-4.1-nano-2025-04-14:westus"
  | "gpt-4.1-nano-2025-04-14:eastus2"
  | "gpt-4.1-nano-2025-04-14:westus3"
  | "gpt-4.1-nano-2025-04-14:northcentralus"
  | "gpt-4.1-nano-2025-04-14:southcentralus"
  | "gpt-4o-2024-11-20:swedencentral"
  | "gpt-4o-2024-11-20:westus"
  | "gpt-4o-2024-11-20:eastus2"
  | "gpt-4o-2024-11-20:eastus"
  | "gpt-4o-2024-11-20:westus3"
  | "gpt-4o-2024-11-20:southcentralus"
  | "gpt-4o-2024-08-06:westus"
  | "gpt-4o-2024-08-06:westus3"
  | "gpt-4o-2024-08-06:eastus"
  | "gpt-4o-2024-08-06:eastus2"
  | "gpt-4o-2024-08-06:northcentralus"
  | "gpt-4o-2024-08-06:southcentralus"
  | "gpt-4o-mini-2024-07-18:westus"
  | "gpt-4o-mini-2024-07-18:westus3"
  | "gpt-4o-mini-2024-07-18:eastus"
  | "gpt-4o-mini-2024-07-18:eastus2"
  | "gpt-4o-mini-2024-07-18:northcentralus"
  | "gpt-4o-mini-2024-07-18:southcentralus"
  | "gpt-4o-2024-05-13:eastus2"
  | "gpt-4o-2024-05-13:eastus"
  | "gpt-4o-2024-05-13:northcentralus"
  | "gpt-4o-2024-05-13:southcentralus"
  | "gpt-4o-2024-05-13:westus3"
  | "gpt-4o-2024-05-13:westus"
  | "gpt-4-turbo-2024-04-09:eastus2"
  | "gpt-4-0125-preview:eastus"
  | "gpt-4-0125-preview:northcentralus"
  | "gpt-4-0125-preview:southcentralus"
  | "gpt-4-1106-preview:australia"
  | "gpt-4-1106-preview:canadaeast"
  | "gpt-4-1106-preview:france"
  | "gpt-4-1106-preview:india"
  | "gpt-4-1106-preview:norway"
  | "gpt-4-1106-preview:swedencentral"
  | "gpt-4-1106-preview:uk"
  | "gpt-4-1106-preview:westus"
  | "gpt-4-1106-preview:westus3"
  | "gpt-4-0613:canadaeast"
  | "gpt-3.5-turbo-0125:canadaeast"
  | "gpt-3.5-turbo-0125:northcentralus"
  | "gpt-3.5-turbo-0125:southcentralus"
  | "gpt-3.5-turbo-1106:canadaeast"
  | "gpt-3.5-turbo-1106:westus";

/** Requires its model. */
export interface OpenAITranscriber {
  fallback_plan?: Record<string, unknown> | null;
  provider: "openai";
  model: OpenAITranscriberModelName;
  fallbackPlan?: never;
  [key: string]: unknown;
}

export type OpenAITranscriberModelName = "gpt-4o-transcribe" | "gpt-4o-mini-transcribe";

/** What is done while an incoming call rings. */
export interface PhoneNumberHookCallRinging {
  on: "call.ringing";
  do: (TransferPhoneNumberHookAction | SayPhoneNumberHookAction)[];
}

/** The variants that require nothing besides `provider`. */
export interface PlainTranscriber {
  fallback_plan?: Record<string, unknown> | null;
  provider: PlainTranscriberProvider;
  fallbackPlan?: never;
  [key: string]: unknown;
}

export type PlainTranscriberProvider =
  | "assembly-ai"
  | "azure"
  | "deepgram"
  | "11labs"
  | "gladia"
  | "google"
  | "speechmatics"
  | "talkscriber"
  | "cartesia";

export type RecordingChannels = "mono" | "dual";

export type RecordingFormat = "wav;l16" | "mp3";

/** One switch of a regular expression. */
export interface RegexOption {
  type: RegexOptionType;
  enabled: boolean;
}

export type RegexOptionType = "ignore-case" | "whole-word" | "multi-line";

/** The session, or the id that was reserved for it. */
export interface ResponsePayload {
  /** If the request failed, nothing stands under it */
  session_id: string;
  /** That of the request */
  casefile_id: string | null;
  created_at: string;
}

export type Rubric =
  | "NumericScale"
  | "DescriptiveScale"
  | "Checklist"
  | "Matrix"
  | "PercentageScale"
  | "LikertScale"
  | "AutomaticRubric"
  | "PassFail";

/** Say something. */
export interface SayAssistantHookAction {
  type: "say";
  exact: Record<string, unknown>;
}

/** Speak a text. */
export interface SayPhoneNumberHookAction {
  type: "say";
  exact: string;
}

/** An HTTP target. The values of `headers` are secret. */
export interface Server {
  timeout_seconds?: number | null;
  url?: string | null;
  headers?: Record<string, unknown> | null;
  backoff_plan?: BackoffPlan | null;
}

export type ServerMessage =
  | "conversation-update"
  | "end-of-call-report"
  | "function-call"
  | "hang"
  | "language-changed"
  | "language-change-detected"
  | "model-output"
  | "phone-call-control"
  | "speech-update"
  | "status-update"
  | "transcript"
  | "transcript[transcriptType=\"final\"]"
  | "tool-calls"
  | "transfer-destination-request"
  | "transfer-update"
  | "user-interrupted"
  | "voice-input";

/** Requires its model too. */
export interface SesameVoice {
  fallback_plan?: Record<string, unknown> | null;
  provider: "sesame";
  voice_id: string;
  model: "csm-1b";
  fallbackPlan?: never;
  voiceId?: never;
  [key: string]: unknown;
}

export type SessionState = "active" | "completed";

/** How a trunk is signed in to. */
export interface SipTrunkOutboundAuthenticationPlan {
  auth_password?: string | null;
  auth_username?: string | null;
  sip_register_plan?: Record<string, unknown> | null;
}

export type SipVerb = "refer" | "bye" | "dial";

/** Noise removal by a model. */
export interface SmartDenoisingPlan {
  enabled?: boolean | null;
}

/** Either variant of the plan: both take both providers, so nothing tells them apart. */
export interface SmartEndpointingPlan {
  provider: SmartEndpointingProvider;
  wait_function?: string | null;
}

export type SmartEndpointingProvider = "vapi" | "livekit";

export type SpeechInterruption = "assistant.speech.interrupted" | "customer.speech.interrupted";

/** When the assistant begins. */
export interface StartSpeakingPlan {
  wait_seconds?: number | null;
  smart_endpointing_enabled?: boolean | "livekit" | null;
  smart_endpointing_plan?: SmartEndpointingPlan | null;
  custom_endpointing_rules?: (OneSidedEndpointingRule | BothCustomEndpointingRule)[] | null;
  transcription_endpointing_plan?: TranscriptionEndpointingPlan | null;
}

/** When the assistant lets itself be interrupted. */
export interface StopSpeakingPlan {
  num_words?: number | null;
  voice_seconds?: number | null;
  backoff_seconds?: number | null;
  acknowledgement_phrases?: string[] | null;
  interruption_phrases?: string[] | null;
}

/** One extraction among several. */
export interface StructuredDataMultiPlan {
  key: string;
  plan: StructuredDataPlan;
}

/** What is extracted from a call. */
export interface StructuredDataPlan {
  messages?: Record<string, unknown>[] | null;
  enabled?: boolean | null;
  schema?: Record<string, unknown> | null;
  timeout_seconds?: number | null;
}

/** How a call's success is judged. */
export interface SuccessEvaluationPlan {
  rubric?: Rubric | null;
  messages?: Record<string, unknown>[] | null;
  enabled?: boolean | null;
  timeout_seconds?: number | null;
}

/** How a call is summarised. */
export interface SummaryPlan {
  messages?: Record<string, unknown>[] | null;
  enabled?: boolean | null;
  timeout_seconds?: number | null;
}

/** A bucket at Supabase. */
export interface SupabaseBucketPlan {
  region: SupabaseRegion;
  url: string;
  access_key_id: string;
  secret_access_key: string;
  name: string;
  path?: string | null;
}

export type SupabaseRegion =
  | "us-west-1"
  | "us-east-1"
  | "us-east-2"
  | "ca-central-1"
  | "eu-west-1"
  | "eu-west-2"
  | "eu-west-3"
  | "eu-central-1"
  | "eu-central-2"
  | "eu-north-1"
  | "ap-south-1"
  | "ap-southeast-1"
  | "ap-northeast-1"
  | "ap-northeast-2"
  | "ap-southeast-2"
  | "sa-east-1";

/** Instructions to the model, with the moment they were given. */
export interface SystemMessage {
  role: "system";
  message: string;
  time: number;
  seconds_from_start: number;
}

/** A text in one language. */
export interface TextContent {
  type: "text";
  text: string;
  language: Language;
}

/** A call the assistant asks for; a tool message answers it by `id`. */
export interface ToolCall {
  id: string;
  type: string;
  function: ToolCallFunction;
}

/** A function and its arguments as one string. */
export interface ToolCallFunction {
  arguments: string;
  name: string;
}

/** A tool's answer to the call `tool_call_id`. */
export interface ToolMessage {
  role: "tool";
  content: string;
  tool_call_id: string;
  name?: string | null;
}

/** How a transcript names its speakers. */
export interface TranscriptPlan {
  enabled?: boolean | null;
  assistant_name?: string | null;
  user_name?: string | null;
}

/** Pauses by what the transcript ends with. */
export interface TranscriptionEndpointingPlan {
  on_punctuation_seconds?: number | null;
  on_no_punctuation_seconds?: number | null;
  on_number_seconds?: number | null;
}

/** Hand the call over. */
export interface TransferAssistantHookAction {
  type: "transfer";
  destination?: TransferDestinationNumber | TransferDestinationSip | null;
}

/** Another telephone number. */
export interface TransferDestinationNumber {
  message?: string | CustomMessage | null;
  type: "number";
  number_e164_check_enabled?: boolean | null;
  number: string;
  extension?: string | null;
  caller_id?: string | null;
  transfer_plan?: TransferPlan | null;
  description?: string | null;
}

/** A SIP address. The values of `sip_headers` are secret. */
export interface TransferDestinationSip {
  message?: string | CustomMessage | null;
  type: "sip";
  sip_uri: string;
  transfer_plan?: TransferPlan | null;
  sip_headers?: Record<string, unknown> | null;
  description?: string | null;
}

/** What happens when a transfer does not come about. */
export interface TransferFallbackPlan {
  message: string | CustomMessage;
  end_call_enabled?: boolean | null;
}

export type TransferMode =
  | "blind-transfer"
  | "blind-transfer-add-summary-to-sip-header"
  | "warm-transfer-say-message"
  | "warm-transfer-say-summary"
  | "warm-transfer-twiml"
  | "warm-transfer-wait-for-operator-to-speak-first-and-then-say-message"
  | "warm-transfer-wait-for-operator-to-speak-first-and-then-say-summary"
  | "warm-transfer-experimental";

/** Hand the call over. */
export interface TransferPhoneNumberHookAction {
  type: "transfer";
  destination?: TransferDestinationNumber | TransferDestinationSip | null;
}

/** How the call is handed over. */
export interface TransferPlan {
  mode: TransferMode;
  message?: string | CustomMessage | null;
  timeout?: number | null;
  sip_verb?: SipVerb | null;
  hold_audio_url?: string | null;
  transfer_complete_audio_url?: string | null;
  twiml?: string | null;
  summary_plan?: SummaryPlan | null;
  sip_headers_in_refer_to_enabled?: boolean | null;
  fallback_plan?: TransferFallbackPlan | null;
}

/** How Twilio carries the call. */
export interface TransportConfigurationTwilio {
  provider: "twilio";
  timeout?: number | null;
  record?: boolean | null;
  recording_channels?: RecordingChannels | null;
}

/** Detection by Twilio. */
export interface TwilioVoicemailDetectionPlan {
  provider: "twilio";
  voicemail_detection_types?: VoicemailDetectionType[] | null;
  enabled?: boolean | null;
  machine_detection_timeout?: number | null;
  machine_detection_speech_threshold?: number | null;
  machine_detection_speech_end_threshold?: number | null;
  machine_detection_silence_timeout?: number | null;
}

/** What the user said, with its place in time. */
export interface UserMessage {
  role: "user";
  message: string;
  time: number;
  end_time: number;
  seconds_from_start: number;
  duration?: number | null;
}

/** Takes the ids of a list. */
export interface VapiVoice {
  fallback_plan?: Record<string, unknown> | null;
  provider: "vapi";
  voice_id: VapiVoiceId;
  fallbackPlan?: never;
  voiceId?: never;
  [key: string]: unknown;
}

export type VapiVoiceId =
  | "Elliot"
  | "Kylie"
  | "Rohan"
  | "Lily"
  | "Savannah"
  | "Hana"
  | "Neha"
  | "Cole"
  | "Harry"
  | "Paige"
  | "Spencer";

/** When and how often it is looked for. */
export interface VoicemailDetectionBackoffPlan {
  start_at_seconds?: number | null;
  frequency_seconds?: number | null;
  max_retries?: number | null;
}

export type VoicemailDetectionType =
  | "machine_start"
  | "human"
  | "fax"
  | "unknown"
  | "machine_end_beep"
  | "machine_end_silence"
  | "machine_end_other";

/** Takes the names of a list. */
export interface XaiModel {
  messages?: ModelMessage[] | null;
  tools?: Record<string, unknown>[] | null;
  tool_ids?: string[] | null;
  knowledge_base?: Record<string, unknown> | null;
  knowledge_base_id?: string | null;
  temperature?: number | null;
  max_tokens?: number | null;
  emotion_recognition_enabled?: boolean | null;
  num_fast_turns?: number | null;
  provider: "xai";
  model: XaiModelName;
  toolIds?: never;
  knowledgeBase?: never;
  knowledgeBaseId?: never;
  maxTokens?: never;
  emotionRecognitionEnabled?: never;
  numFastTurns?: never;
  [key: string]: unknown;
}

export type XaiModelName = "grok-beta" | "grok-2" | "grok-3";

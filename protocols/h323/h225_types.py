"""What stands in messages of H.225.0: call signalling and RAS, a line for each type (`schema.py`).

Made by `python -m tools.h323_tables` from the ASN.1 that ITU-T publishes. It is not edited by hand.
"""

TYPES = r"""
AddressPattern = CHOICE* wildcard:AliasAddress range:AddressPattern.range
AddressPattern.range = SEQ startOfRange:PartyNumber endOfRange:PartyNumber
AdmissionConfirm = SEQ* requestSeqNum:RequestSeqNum bandWidth:BandWidth callModel:CallModel
  destCallSignalAddress:TransportAddress irrFrequency?:INT(1..65535) nonStandardData?:NonStandardParameter |
  0/destinationInfo:LIST()AliasAddress 1/destExtraCallInfo:LIST()AliasAddress 2/destinationType:EndpointType
  3/remoteExtensionAddress:LIST()AliasAddress 4/alternateEndpoints:LIST()Endpoint 6/cryptoTokens:LIST()CryptoH323Token
  12/alternateTransportAddresses:AlternateTransportAddresses 14/circuitInfo:CircuitInfo
  16/supportedProtocols:LIST()SupportedProtocols 19/featureSet:FeatureSet 20/genericData:LIST()GenericData
  21/modifiedSrcInfo:LIST()AliasAddress 22/assignedGatekeeper:AlternateGK
AdmissionReject = SEQ* requestSeqNum:RequestSeqNum rejectReason:AdmissionRejectReason
  nonStandardData?:NonStandardParameter | 0/altGKInfo:AltGKInfo 2/cryptoTokens:LIST()CryptoH323Token
  3/callSignalAddress:LIST()TransportAddress 6/featureSet:FeatureSet 7/genericData:LIST()GenericData
  8/assignedGatekeeper:AlternateGK
AdmissionRejectReason = CHOICE* calledPartyNotRegistered:NULL invalidPermission:NULL requestDenied:NULL
  undefinedReason:NULL callerNotRegistered:NULL routeCallToGatekeeper:NULL invalidEndpointIdentifier:NULL
  resourceUnavailable:NULL
AdmissionRequest = SEQ* requestSeqNum:RequestSeqNum callType:CallType callModel?:CallModel
  endpointIdentifier:EndpointIdentifier destinationInfo?:LIST()AliasAddress destCallSignalAddress?:TransportAddress
  destExtraCallInfo?:LIST()AliasAddress srcInfo:LIST()AliasAddress srcCallSignalAddress?:TransportAddress
  bandWidth:BandWidth callReferenceValue:CallReferenceValue nonStandardData?:NonStandardParameter
  callServices?:QseriesOptions conferenceID:ConferenceIdentifier activeMC:BOOL answerCall:BOOL |
  1/callIdentifier:CallIdentifier 2/srcAlternatives:LIST()Endpoint 3/destAlternatives:LIST()Endpoint
  6/cryptoTokens:LIST()CryptoH323Token 13/circuitInfo:CircuitInfo 14/desiredProtocols:LIST()SupportedProtocols
  16/featureSet:FeatureSet 17/genericData:LIST()GenericData
Alerting-UUIE = SEQ* protocolIdentifier:ProtocolIdentifier destinationInfo:EndpointType h245Address?:TransportAddress
  | 0/callIdentifier:CallIdentifier 3/cryptoTokens:LIST()CryptoH323Token 4/fastStart:LIST()OCTETS()
  7/alertingAddress:LIST()AliasAddress 13/featureSet:FeatureSet
AliasAddress = CHOICE* dialledDigits:CHARS4[#*,0123456789](1..128) h323-ID:CHARS16(1..256) | 0/url-ID:CHARS8(1..512)
  1/transportID:TransportAddress 2/email-ID:CHARS8(1..512)
AltGKInfo = SEQ* alternateGatekeeper:LIST()AlternateGK altGKisPermanent:BOOL
AlternateGK = SEQ* rasAddress:TransportAddress gatekeeperIdentifier?:GatekeeperIdentifier needToRegister:BOOL
  priority:INT(0..127)
AlternateTransportAddresses = SEQ* annexE?:LIST()TransportAddress | 0/sctp:LIST()TransportAddress
BandRejectReason = CHOICE* notBound:NULL invalidConferenceID:NULL invalidPermission:NULL insufficientResources:NULL
  invalidRevision:NULL undefinedReason:NULL
BandWidth = INT(0..4294967295)
BandwidthConfirm = SEQ* requestSeqNum:RequestSeqNum bandWidth:BandWidth nonStandardData?:NonStandardParameter |
  1/cryptoTokens:LIST()CryptoH323Token 4/genericData:LIST()GenericData
BandwidthDetails = SEQ* sender:BOOL multicast:BOOL bandwidth:BandWidth rtcpAddresses:TransportChannelInfo
BandwidthReject = SEQ* requestSeqNum:RequestSeqNum rejectReason:BandRejectReason allowedBandWidth:BandWidth
  nonStandardData?:NonStandardParameter | 0/altGKInfo:AltGKInfo 2/cryptoTokens:LIST()CryptoH323Token
  4/genericData:LIST()GenericData
BandwidthRequest = SEQ* requestSeqNum:RequestSeqNum endpointIdentifier:EndpointIdentifier
  conferenceID:ConferenceIdentifier callReferenceValue:CallReferenceValue callType?:CallType bandWidth:BandWidth
  nonStandardData?:NonStandardParameter | 0/callIdentifier:CallIdentifier 3/cryptoTokens:LIST()CryptoH323Token
  9/bandwidthDetails:LIST()BandwidthDetails 10/genericData:LIST()GenericData
CallCreditServiceControl = SEQ* amountString?:CHARS16(1..512) billingMode?:CallCreditServiceControl.billingMode
  callDurationLimit?:INT(1..4294967295) enforceCallDurationLimit?:BOOL
  callStartingPoint?:CallCreditServiceControl.callStartingPoint
CallCreditServiceControl.billingMode = CHOICE* credit:NULL debit:NULL
CallCreditServiceControl.callStartingPoint = CHOICE* alerting:NULL connect:NULL
CallIdentifier = SEQ* guid:GloballyUniqueID
CallModel = CHOICE* direct:NULL gatekeeperRouted:NULL
CallProceeding-UUIE = SEQ* protocolIdentifier:ProtocolIdentifier destinationInfo:EndpointType
  h245Address?:TransportAddress | 0/callIdentifier:CallIdentifier 3/cryptoTokens:LIST()CryptoH323Token
  4/fastStart:LIST()OCTETS() 8/featureSet:FeatureSet
CallReferenceValue = INT(0..65535)
CallType = CHOICE* pointToPoint:NULL oneToN:NULL nToOne:NULL nToN:NULL
CicInfo = SEQ* cic:LIST()OCTETS(2..4) pointCode:OCTETS(2..5)
CircuitIdentifier = SEQ* cic?:CicInfo group?:GroupID
CircuitInfo = SEQ* sourceCircuitID?:CircuitIdentifier destinationCircuitID?:CircuitIdentifier
  genericData?:LIST()GenericData
ConferenceIdentifier = GloballyUniqueID
ConferenceList = SEQ* conferenceID?:ConferenceIdentifier conferenceAlias?:AliasAddress
  nonStandardData?:NonStandardParameter
Connect-UUIE = SEQ* protocolIdentifier:ProtocolIdentifier h245Address?:TransportAddress destinationInfo:EndpointType
  conferenceID:ConferenceIdentifier | 0/callIdentifier:CallIdentifier 3/cryptoTokens:LIST()CryptoH323Token
  4/fastStart:LIST()OCTETS() 8/connectedAddress:LIST()AliasAddress 14/featureSet:FeatureSet
Content = CHOICE* raw:OCTETS() text:CHARS8() unicode:CHARS16() bool:BOOL number8:INT(0..255) number16:INT(0..65535)
  number32:INT(0..4294967295) id:GenericIdentifier alias:AliasAddress transport:TransportAddress
  compound:LIST(1..512)EnumeratedParameter nested:LIST(1..16)GenericData
CryptoH323Token = CHOICE* cryptoEPPwdHash:CryptoH323Token.cryptoEPPwdHash
  cryptoGKPwdHash:CryptoH323Token.cryptoGKPwdHash cryptoEPPwdEncr:H235.ENCRYPTED cryptoGKPwdEncr:H235.ENCRYPTED
  cryptoEPCert:H235.SIGNED cryptoGKCert:H235.SIGNED cryptoFastStart:H235.SIGNED nestedcryptoToken:H235.CryptoToken
CryptoH323Token.cryptoEPPwdHash = SEQ alias:AliasAddress timeStamp:H235.TimeStamp token:H235.HASHED
CryptoH323Token.cryptoGKPwdHash = SEQ gatekeeperId:GatekeeperIdentifier timeStamp:H235.TimeStamp token:H235.HASHED
DataRate = SEQ* nonStandardData?:NonStandardParameter channelRate:BandWidth channelMultiplier?:INT(1..256)
DisengageConfirm = SEQ* requestSeqNum:RequestSeqNum nonStandardData?:NonStandardParameter |
  1/cryptoTokens:LIST()CryptoH323Token 4/circuitInfo:CircuitInfo 6/genericData:LIST()GenericData
  7/assignedGatekeeper:AlternateGK
DisengageReason = CHOICE* forcedDrop:NULL normalDrop:NULL undefinedReason:NULL
DisengageReject = SEQ* requestSeqNum:RequestSeqNum rejectReason:DisengageRejectReason
  nonStandardData?:NonStandardParameter | 0/altGKInfo:AltGKInfo 2/cryptoTokens:LIST()CryptoH323Token
  4/genericData:LIST()GenericData
DisengageRejectReason = CHOICE* notRegistered:NULL requestToDropOther:NULL
DisengageRequest = SEQ* requestSeqNum:RequestSeqNum endpointIdentifier:EndpointIdentifier
  conferenceID:ConferenceIdentifier callReferenceValue:CallReferenceValue disengageReason:DisengageReason
  nonStandardData?:NonStandardParameter | 0/callIdentifier:CallIdentifier 3/cryptoTokens:LIST()CryptoH323Token
  8/circuitInfo:CircuitInfo 12/genericData:LIST()GenericData
Endpoint = SEQ* nonStandardData?:NonStandardParameter aliasAddress?:LIST()AliasAddress
  callSignalAddress?:LIST()TransportAddress rasAddress?:LIST()TransportAddress endpointType?:EndpointType
  tokens?:LIST()H235.ClearToken cryptoTokens?:LIST()CryptoH323Token priority?:INT(0..127)
  remoteExtensionAddress?:LIST()AliasAddress destExtraCallInfo?:LIST()AliasAddress |
  0/alternateTransportAddresses:AlternateTransportAddresses 1/circuitInfo:CircuitInfo 2/featureSet:FeatureSet
EndpointIdentifier = CHARS16(1..128)
EndpointType = SEQ* nonStandardData?:NonStandardParameter vendor?:VendorIdentifier gatekeeper?:GatekeeperInfo
  gateway?:GatewayInfo mcu?:McuInfo terminal?:TerminalInfo mc:BOOL undefinedNode:BOOL
EnumeratedParameter = SEQ* id:GenericIdentifier content?:Content
ExtendedAliasAddress = SEQ* address:AliasAddress presentationIndicator?:PresentationIndicator
  screeningIndicator?:ScreeningIndicator
Facility-UUIE = SEQ* protocolIdentifier:ProtocolIdentifier alternativeAddress?:TransportAddress
  alternativeAliasAddress?:LIST()AliasAddress conferenceID?:ConferenceIdentifier reason:FacilityReason |
  0/callIdentifier:CallIdentifier 1/destExtraCallInfo:LIST()AliasAddress 2/remoteExtensionAddress:AliasAddress
  4/cryptoTokens:LIST()CryptoH323Token 5/conferences:LIST()ConferenceList 6/h245Address:TransportAddress
  7/fastStart:LIST()OCTETS() 12/circuitInfo:CircuitInfo 13/featureSet:FeatureSet 14/destinationInfo:EndpointType
FacilityReason = CHOICE* routeCallToGatekeeper:NULL callForwarded:NULL routeCallToMC:NULL undefinedReason:NULL |
  1/startH245:NULL
FeatureDescriptor = GenericData
FeatureSet = SEQ* replacementFeatureSet:BOOL neededFeatures?:LIST()FeatureDescriptor
  desiredFeatures?:LIST()FeatureDescriptor supportedFeatures?:LIST()FeatureDescriptor
GatekeeperConfirm = SEQ* requestSeqNum:RequestSeqNum protocolIdentifier:ProtocolIdentifier
  nonStandardData?:NonStandardParameter gatekeeperIdentifier?:GatekeeperIdentifier rasAddress:TransportAddress |
  0/alternateGatekeeper:LIST()AlternateGK 3/cryptoTokens:LIST()CryptoH323Token 7/featureSet:FeatureSet
  8/genericData:LIST()GenericData 9/assignedGatekeeper:AlternateGK
GatekeeperIdentifier = CHARS16(1..128)
GatekeeperInfo = SEQ* nonStandardData?:NonStandardParameter
GatekeeperReject = SEQ* requestSeqNum:RequestSeqNum protocolIdentifier:ProtocolIdentifier
  nonStandardData?:NonStandardParameter gatekeeperIdentifier?:GatekeeperIdentifier rejectReason:GatekeeperRejectReason
  | 0/altGKInfo:AltGKInfo 2/cryptoTokens:LIST()CryptoH323Token 4/featureSet:FeatureSet 5/genericData:LIST()GenericData
GatekeeperRejectReason = CHOICE* resourceUnavailable:NULL terminalExcluded:NULL invalidRevision:NULL
  undefinedReason:NULL
GatekeeperRequest = SEQ* requestSeqNum:RequestSeqNum protocolIdentifier:ProtocolIdentifier
  nonStandardData?:NonStandardParameter rasAddress:TransportAddress endpointType:EndpointType
  gatekeeperIdentifier?:GatekeeperIdentifier callServices?:QseriesOptions endpointAlias?:LIST()AliasAddress |
  0/alternateEndpoints:LIST()Endpoint 2/cryptoTokens:LIST()CryptoH323Token 8/featureSet:FeatureSet
  9/genericData:LIST()GenericData 11/assignedGatekeeper:AlternateGK
GatewayInfo = SEQ* protocol?:LIST()SupportedProtocols nonStandardData?:NonStandardParameter
GenericData = SEQ* id:GenericIdentifier parameters?:LIST(1..512)EnumeratedParameter
GenericIdentifier = CHOICE* standard:INT(0..16383)* oid:OID nonStandard:GloballyUniqueID
GloballyUniqueID = OCTETS(16)
GroupID = SEQ* member?:LIST()INT(0..65535) group:CHARS8(1..128)
H221NonStandard = SEQ* t35CountryCode:INT(0..255) t35Extension:INT(0..255) manufacturerCode:INT(0..65535)
H245Security = CHOICE* nonStandard:NonStandardParameter noSecurity:NULL tls:SecurityCapabilities
  ipsec:SecurityCapabilities
H248SignalsDescriptor = OCTETS()
H310Caps = SEQ* nonStandardData?:NonStandardParameter | 1/supportedPrefixes:LIST()SupportedPrefix
H320Caps = SEQ* nonStandardData?:NonStandardParameter | 1/supportedPrefixes:LIST()SupportedPrefix
H321Caps = SEQ* nonStandardData?:NonStandardParameter | 1/supportedPrefixes:LIST()SupportedPrefix
H322Caps = SEQ* nonStandardData?:NonStandardParameter | 1/supportedPrefixes:LIST()SupportedPrefix
H323-UU-PDU = SEQ* h323-message-body:H323-UU-PDU.h323-message-body nonStandardData?:NonStandardParameter |
  1/h245Tunnelling:BOOL 2/h245Control:LIST()OCTETS() 8/genericData:LIST()GenericData
H323-UU-PDU.h323-message-body = CHOICE* setup:Setup-UUIE callProceeding:CallProceeding-UUIE connect:Connect-UUIE
  alerting:Alerting-UUIE information:Information-UUIE releaseComplete:ReleaseComplete-UUIE facility:Facility-UUIE |
  0/progress:Progress-UUIE 1/empty:NULL 2/status:Status-UUIE 3/statusInquiry:StatusInquiry-UUIE
  4/setupAcknowledge:SetupAcknowledge-UUIE 5/notify:Notify-UUIE
H323-UserInformation = SEQ* h323-uu-pdu:H323-UU-PDU user-data?:H323-UserInformation.user-data
H323-UserInformation.user-data = SEQ* protocol-discriminator:INT(0..255) user-information:OCTETS(1..131)
H323Caps = SEQ* nonStandardData?:NonStandardParameter | 1/supportedPrefixes:LIST()SupportedPrefix
H324Caps = SEQ* nonStandardData?:NonStandardParameter | 1/supportedPrefixes:LIST()SupportedPrefix
ICV = SEQ algorithmOID:OID icv:BITS()
InfoRequest = SEQ* requestSeqNum:RequestSeqNum callReferenceValue:CallReferenceValue
  nonStandardData?:NonStandardParameter replyAddress?:TransportAddress | 0/callIdentifier:CallIdentifier
  2/cryptoTokens:LIST()CryptoH323Token 10/genericData:LIST()GenericData 11/assignedGatekeeper:AlternateGK
InfoRequestAck = SEQ* requestSeqNum:RequestSeqNum nonStandardData?:NonStandardParameter tokens?:LIST()H235.ClearToken
  cryptoTokens?:LIST()CryptoH323Token integrityCheckValue?:ICV
InfoRequestNak = SEQ* requestSeqNum:RequestSeqNum nonStandardData?:NonStandardParameter nakReason:InfoRequestNakReason
  altGKInfo?:AltGKInfo tokens?:LIST()H235.ClearToken cryptoTokens?:LIST()CryptoH323Token integrityCheckValue?:ICV
InfoRequestNakReason = CHOICE* notRegistered:NULL securityDenial:NULL undefinedReason:NULL
InfoRequestResponse = SEQ* nonStandardData?:NonStandardParameter requestSeqNum:RequestSeqNum endpointType:EndpointType
  endpointIdentifier:EndpointIdentifier rasAddress:TransportAddress callSignalAddress:LIST()TransportAddress
  endpointAlias?:LIST()AliasAddress perCallInfo?:LIST()InfoRequestResponse.perCallInfo |
  1/cryptoTokens:LIST()CryptoH323Token 7/genericData:LIST()GenericData
InfoRequestResponse.perCallInfo = SEQ* nonStandardData?:NonStandardParameter callReferenceValue:CallReferenceValue
  conferenceID:ConferenceIdentifier originator?:BOOL audio?:LIST()RTPSession video?:LIST()RTPSession
  data?:LIST()TransportChannelInfo h245:TransportChannelInfo callSignalling:TransportChannelInfo callType:CallType
  bandWidth:BandWidth callModel:CallModel | 0/callIdentifier:CallIdentifier 2/cryptoTokens:LIST()CryptoH323Token
  4/pdu:LIST()InfoRequestResponse.perCallInfo.pdu 7/circuitInfo:CircuitInfo
InfoRequestResponse.perCallInfo.pdu = SEQ h323pdu:H323-UU-PDU sent:BOOL
Information-UUIE = SEQ* protocolIdentifier:ProtocolIdentifier | 0/callIdentifier:CallIdentifier
  2/cryptoTokens:LIST()CryptoH323Token 3/fastStart:LIST()OCTETS() 5/circuitInfo:CircuitInfo
LocationConfirm = SEQ* requestSeqNum:RequestSeqNum callSignalAddress:TransportAddress rasAddress:TransportAddress
  nonStandardData?:NonStandardParameter | 0/destinationInfo:LIST()AliasAddress 1/destExtraCallInfo:LIST()AliasAddress
  2/destinationType:EndpointType 3/remoteExtensionAddress:LIST()AliasAddress 4/alternateEndpoints:LIST()Endpoint
  6/cryptoTokens:LIST()CryptoH323Token 8/alternateTransportAddresses:AlternateTransportAddresses
  9/supportedProtocols:LIST()SupportedProtocols 11/featureSet:FeatureSet 12/genericData:LIST()GenericData
  13/circuitInfo:CircuitInfo 15/modifiedSrcInfo:LIST()AliasAddress
LocationReject = SEQ* requestSeqNum:RequestSeqNum rejectReason:LocationRejectReason
  nonStandardData?:NonStandardParameter | 0/altGKInfo:AltGKInfo 2/cryptoTokens:LIST()CryptoH323Token
  4/featureSet:FeatureSet 5/genericData:LIST()GenericData
LocationRejectReason = CHOICE* notRegistered:NULL invalidPermission:NULL requestDenied:NULL undefinedReason:NULL
LocationRequest = SEQ* requestSeqNum:RequestSeqNum endpointIdentifier?:EndpointIdentifier
  destinationInfo:LIST()AliasAddress nonStandardData?:NonStandardParameter replyAddress:TransportAddress |
  0/sourceInfo:LIST()AliasAddress 4/cryptoTokens:LIST()CryptoH323Token 6/desiredProtocols:LIST()SupportedProtocols
  8/featureSet:FeatureSet 9/genericData:LIST()GenericData 11/circuitInfo:CircuitInfo 12/callIdentifier:CallIdentifier
  14/sourceEndpointInfo:LIST()AliasAddress
McuInfo = SEQ* nonStandardData?:NonStandardParameter | 0/protocol:LIST()SupportedProtocols
NonStandardIdentifier = CHOICE* object:OID h221NonStandard:H221NonStandard
NonStandardMessage = SEQ* requestSeqNum:RequestSeqNum nonStandardData:NonStandardParameter |
  1/cryptoTokens:LIST()CryptoH323Token 3/featureSet:FeatureSet 4/genericData:LIST()GenericData
NonStandardParameter = SEQ nonStandardIdentifier:NonStandardIdentifier data:OCTETS()
NonStandardProtocol = SEQ* nonStandardData?:NonStandardParameter dataRatesSupported?:LIST()DataRate
  supportedPrefixes:LIST()SupportedPrefix
Notify-UUIE = SEQ* protocolIdentifier:ProtocolIdentifier callIdentifier:CallIdentifier tokens?:LIST()H235.ClearToken
  cryptoTokens?:LIST()CryptoH323Token | 0/connectedAddress:LIST()AliasAddress 3/destinationInfo:EndpointType
NumberDigits = CHARS4[#*,0123456789](1..128)
PartyNumber = CHOICE* e164Number:PublicPartyNumber dataPartyNumber:NumberDigits telexPartyNumber:NumberDigits
  privateNumber:PrivatePartyNumber nationalStandardPartyNumber:NumberDigits
PresentationIndicator = CHOICE* presentationAllowed:NULL presentationRestricted:NULL addressNotAvailable:NULL
PrivatePartyNumber = SEQ privateTypeOfNumber:PrivateTypeOfNumber privateNumberDigits:NumberDigits
PrivateTypeOfNumber = CHOICE* unknown:NULL level2RegionalNumber:NULL level1RegionalNumber:NULL pISNSpecificNumber:NULL
  localNumber:NULL abbreviatedNumber:NULL
Progress-UUIE = SEQ* protocolIdentifier:ProtocolIdentifier destinationInfo:EndpointType h245Address?:TransportAddress
  callIdentifier:CallIdentifier h245SecurityMode?:H245Security tokens?:LIST()H235.ClearToken
  cryptoTokens?:LIST()CryptoH323Token fastStart?:LIST()OCTETS()
ProtocolIdentifier = OID
PublicPartyNumber = SEQ publicTypeOfNumber:PublicTypeOfNumber publicNumberDigits:NumberDigits
PublicTypeOfNumber = CHOICE* unknown:NULL internationalNumber:NULL nationalNumber:NULL networkSpecificNumber:NULL
  subscriberNumber:NULL abbreviatedNumber:NULL
Q954Details = SEQ* conferenceCalling:BOOL threePartyService:BOOL
QseriesOptions = SEQ* q932Full:BOOL q951Full:BOOL q952Full:BOOL q953Full:BOOL q955Full:BOOL q956Full:BOOL
  q957Full:BOOL q954Info:Q954Details
RTPSession = SEQ* rtpAddress:TransportChannelInfo rtcpAddress:TransportChannelInfo cname:CHARS8()
  ssrc:INT(1..4294967295) sessionId:INT(1..255) associatedSessionIds:LIST()INT(1..255)
RasMessage = CHOICE* gatekeeperRequest:GatekeeperRequest gatekeeperConfirm:GatekeeperConfirm
  gatekeeperReject:GatekeeperReject registrationRequest:RegistrationRequest registrationConfirm:RegistrationConfirm
  registrationReject:RegistrationReject unregistrationRequest:UnregistrationRequest
  unregistrationConfirm:UnregistrationConfirm unregistrationReject:UnregistrationReject
  admissionRequest:AdmissionRequest admissionConfirm:AdmissionConfirm admissionReject:AdmissionReject
  bandwidthRequest:BandwidthRequest bandwidthConfirm:BandwidthConfirm bandwidthReject:BandwidthReject
  disengageRequest:DisengageRequest disengageConfirm:DisengageConfirm disengageReject:DisengageReject
  locationRequest:LocationRequest locationConfirm:LocationConfirm locationReject:LocationReject
  infoRequest:InfoRequest infoRequestResponse:InfoRequestResponse nonStandardMessage:NonStandardMessage
  unknownMessageResponse:UnknownMessageResponse | 0/requestInProgress:RequestInProgress
  1/resourcesAvailableIndicate:ResourcesAvailableIndicate 2/resourcesAvailableConfirm:ResourcesAvailableConfirm
  3/infoRequestAck:InfoRequestAck 4/infoRequestNak:InfoRequestNak 5/serviceControlIndication:ServiceControlIndication
  6/serviceControlResponse:ServiceControlResponse 7/admissionConfirmSequence:LIST()AdmissionConfirm
RegistrationConfirm = SEQ* requestSeqNum:RequestSeqNum protocolIdentifier:ProtocolIdentifier
  nonStandardData?:NonStandardParameter callSignalAddress:LIST()TransportAddress terminalAlias?:LIST()AliasAddress
  gatekeeperIdentifier?:GatekeeperIdentifier endpointIdentifier:EndpointIdentifier |
  0/alternateGatekeeper:LIST()AlternateGK 1/timeToLive:TimeToLive 3/cryptoTokens:LIST()CryptoH323Token
  6/preGrantedARQ:RegistrationConfirm.preGrantedARQ 10/terminalAliasPattern:LIST()AddressPattern
  11/supportedPrefixes:LIST()SupportedPrefix 13/featureServerAlias:AliasAddress 15/featureSet:FeatureSet
  16/genericData:LIST()GenericData 17/assignedGatekeeper:AlternateGK
RegistrationConfirm.preGrantedARQ = SEQ* makeCall:BOOL useGKCallSignalAddressToMakeCall:BOOL answerCall:BOOL
  useGKCallSignalAddressToAnswer:BOOL | 2/alternateTransportAddresses:AlternateTransportAddresses
RegistrationReject = SEQ* requestSeqNum:RequestSeqNum protocolIdentifier:ProtocolIdentifier
  nonStandardData?:NonStandardParameter rejectReason:RegistrationRejectReason
  gatekeeperIdentifier?:GatekeeperIdentifier | 0/altGKInfo:AltGKInfo 2/cryptoTokens:LIST()CryptoH323Token
  4/featureSet:FeatureSet 5/genericData:LIST()GenericData 6/assignedGatekeeper:AlternateGK
RegistrationRejectReason = CHOICE* discoveryRequired:NULL invalidRevision:NULL invalidCallSignalAddress:NULL
  invalidRASAddress:NULL duplicateAlias:LIST()AliasAddress invalidTerminalType:NULL undefinedReason:NULL
  transportNotSupported:NULL | 4/fullRegistrationRequired:NULL
  6/invalidTerminalAliases:RegistrationRejectReason.invalidTerminalAliases
RegistrationRejectReason.invalidTerminalAliases = SEQ* terminalAlias?:LIST()AliasAddress
  terminalAliasPattern?:LIST()AddressPattern supportedPrefixes?:LIST()SupportedPrefix
RegistrationRequest = SEQ* requestSeqNum:RequestSeqNum protocolIdentifier:ProtocolIdentifier
  nonStandardData?:NonStandardParameter discoveryComplete:BOOL callSignalAddress:LIST()TransportAddress
  rasAddress:LIST()TransportAddress terminalType:EndpointType terminalAlias?:LIST()AliasAddress
  gatekeeperIdentifier?:GatekeeperIdentifier endpointVendor:VendorIdentifier | 0/alternateEndpoints:LIST()Endpoint
  1/timeToLive:TimeToLive 3/cryptoTokens:LIST()CryptoH323Token 5/keepAlive:BOOL
  9/alternateTransportAddresses:AlternateTransportAddresses 11/terminalAliasPattern:LIST()AddressPattern
  19/featureSet:FeatureSet 20/genericData:LIST()GenericData 24/assignedGatekeeper:AlternateGK
ReleaseComplete-UUIE = SEQ* protocolIdentifier:ProtocolIdentifier reason?:ReleaseCompleteReason |
  0/callIdentifier:CallIdentifier 2/cryptoTokens:LIST()CryptoH323Token 3/busyAddress:LIST()AliasAddress
  8/featureSet:FeatureSet 9/destinationInfo:EndpointType
ReleaseCompleteReason = CHOICE* noBandwidth:NULL gatekeeperResources:NULL unreachableDestination:NULL
  destinationRejection:NULL invalidRevision:NULL noPermission:NULL unreachableGatekeeper:NULL gatewayResources:NULL
  badFormatAddress:NULL adaptiveBusy:NULL inConf:NULL undefinedReason:NULL | 1/securityDenied:NULL
RequestInProgress = SEQ* requestSeqNum:RequestSeqNum nonStandardData?:NonStandardParameter
  tokens?:LIST()H235.ClearToken cryptoTokens?:LIST()CryptoH323Token integrityCheckValue?:ICV delay:INT(1..65535)
RequestSeqNum = INT(1..65535)
ResourcesAvailableConfirm = SEQ* requestSeqNum:RequestSeqNum protocolIdentifier:ProtocolIdentifier
  nonStandardData?:NonStandardParameter tokens?:LIST()H235.ClearToken cryptoTokens?:LIST()CryptoH323Token
  integrityCheckValue?:ICV | 0/genericData:LIST()GenericData
ResourcesAvailableIndicate = SEQ* requestSeqNum:RequestSeqNum protocolIdentifier:ProtocolIdentifier
  nonStandardData?:NonStandardParameter endpointIdentifier:EndpointIdentifier protocols:LIST()SupportedProtocols
  almostOutOfResources:BOOL tokens?:LIST()H235.ClearToken cryptoTokens?:LIST()CryptoH323Token integrityCheckValue?:ICV
  | 1/genericData:LIST()GenericData
SIPCaps = SEQ* nonStandardData?:NonStandardParameter dataRatesSupported?:LIST()DataRate
  supportedPrefixes?:LIST()SupportedPrefix
ScreeningIndicator = ENUM(4)*
SecurityCapabilities = SEQ* nonStandard?:NonStandardParameter encryption:SecurityServiceMode
  authenticaton:SecurityServiceMode integrity:SecurityServiceMode
SecurityServiceMode = CHOICE* nonStandard:NonStandardParameter none:NULL default:NULL
ServiceControlDescriptor = CHOICE* url:CHARS8(0..512) signal:H248SignalsDescriptor nonStandard:NonStandardParameter
  callCreditServiceControl:CallCreditServiceControl
ServiceControlIndication = SEQ* requestSeqNum:RequestSeqNum nonStandardData?:NonStandardParameter
  serviceControl:LIST()ServiceControlSession endpointIdentifier?:EndpointIdentifier
  callSpecific?:ServiceControlIndication.callSpecific tokens?:LIST()H235.ClearToken
  cryptoTokens?:LIST()CryptoH323Token integrityCheckValue?:ICV featureSet?:FeatureSet genericData?:LIST()GenericData
ServiceControlIndication.callSpecific = SEQ* callIdentifier:CallIdentifier conferenceID:ConferenceIdentifier
  answeredCall:BOOL
ServiceControlResponse = SEQ* requestSeqNum:RequestSeqNum result?:ServiceControlResponse.result
  nonStandardData?:NonStandardParameter tokens?:LIST()H235.ClearToken cryptoTokens?:LIST()CryptoH323Token
  integrityCheckValue?:ICV featureSet?:FeatureSet genericData?:LIST()GenericData
ServiceControlResponse.result = CHOICE* started:NULL failed:NULL stopped:NULL notAvailable:NULL
  neededFeatureNotSupported:NULL
ServiceControlSession = SEQ* sessionId:INT(0..255) contents?:ServiceControlDescriptor
  reason:ServiceControlSession.reason
ServiceControlSession.reason = CHOICE* open:NULL refresh:NULL close:NULL
Setup-UUIE = SEQ* protocolIdentifier:ProtocolIdentifier h245Address?:TransportAddress
  sourceAddress?:LIST()AliasAddress sourceInfo:EndpointType destinationAddress?:LIST()AliasAddress
  destCallSignalAddress?:TransportAddress destExtraCallInfo?:LIST()AliasAddress destExtraCRV?:LIST()CallReferenceValue
  activeMC:BOOL conferenceID:ConferenceIdentifier conferenceGoal:Setup-UUIE.conferenceGoal
  callServices?:QseriesOptions callType:CallType | 0/sourceCallSignalAddress:TransportAddress
  1/remoteExtensionAddress:AliasAddress 2/callIdentifier:CallIdentifier 5/cryptoTokens:LIST()CryptoH323Token
  6/fastStart:LIST()OCTETS() 19/circuitInfo:CircuitInfo 20/desiredProtocols:LIST()SupportedProtocols
  21/neededFeatures:LIST()FeatureDescriptor 22/desiredFeatures:LIST()FeatureDescriptor
  23/supportedFeatures:LIST()FeatureDescriptor 24/parallelH245Control:LIST()OCTETS()
  25/additionalSourceAddresses:LIST()ExtendedAliasAddress
Setup-UUIE.conferenceGoal = CHOICE* create:NULL join:NULL invite:NULL
SetupAcknowledge-UUIE = SEQ* protocolIdentifier:ProtocolIdentifier callIdentifier:CallIdentifier
  tokens?:LIST()H235.ClearToken cryptoTokens?:LIST()CryptoH323Token
Status-UUIE = SEQ* protocolIdentifier:ProtocolIdentifier callIdentifier:CallIdentifier tokens?:LIST()H235.ClearToken
  cryptoTokens?:LIST()CryptoH323Token
StatusInquiry-UUIE = SEQ* protocolIdentifier:ProtocolIdentifier callIdentifier:CallIdentifier
  tokens?:LIST()H235.ClearToken cryptoTokens?:LIST()CryptoH323Token
SupportedPrefix = SEQ* nonStandardData?:NonStandardParameter prefix:AliasAddress
SupportedProtocols = CHOICE* nonStandardData:NonStandardParameter h310:H310Caps h320:H320Caps h321:H321Caps
  h322:H322Caps h323:H323Caps h324:H324Caps voice:VoiceCaps t120-only:T120OnlyCaps |
  0/nonStandardProtocol:NonStandardProtocol 1/t38FaxAnnexbOnly:T38FaxAnnexbOnlyCaps 2/sip:SIPCaps
T120OnlyCaps = SEQ* nonStandardData?:NonStandardParameter | 1/supportedPrefixes:LIST()SupportedPrefix
T38FaxAnnexbOnlyCaps = SEQ* nonStandardData?:NonStandardParameter dataRatesSupported?:LIST()DataRate
  supportedPrefixes:LIST()SupportedPrefix t38FaxProtocol:H245.DataProtocolCapability t38FaxProfile:H245.T38FaxProfile
TerminalInfo = SEQ* nonStandardData?:NonStandardParameter
TimeToLive = INT(1..4294967295)
TransportAddress = CHOICE* ipAddress:TransportAddress.ipAddress ipSourceRoute:TransportAddress.ipSourceRoute
  ipxAddress:TransportAddress.ipxAddress ip6Address:TransportAddress.ip6Address netBios:OCTETS(16) nsap:OCTETS(1..20)
  nonStandardAddress:NonStandardParameter
TransportAddress.ip6Address = SEQ* ip:OCTETS(16) port:INT(0..65535)
TransportAddress.ipAddress = SEQ ip:OCTETS(4) port:INT(0..65535)
TransportAddress.ipSourceRoute = SEQ* ip:OCTETS(4) port:INT(0..65535) route:LIST()OCTETS(4)
  routing:TransportAddress.ipSourceRoute.routing
TransportAddress.ipSourceRoute.routing = CHOICE* strict:NULL loose:NULL
TransportAddress.ipxAddress = SEQ node:OCTETS(6) netnum:OCTETS(4) port:OCTETS(2)
TransportChannelInfo = SEQ* sendAddress?:TransportAddress recvAddress?:TransportAddress
UnknownMessageResponse = SEQ* requestSeqNum:RequestSeqNum | 1/cryptoTokens:LIST()CryptoH323Token
UnregRejectReason = CHOICE* notCurrentlyRegistered:NULL callInProgress:NULL undefinedReason:NULL
UnregistrationConfirm = SEQ* requestSeqNum:RequestSeqNum nonStandardData?:NonStandardParameter |
  1/cryptoTokens:LIST()CryptoH323Token 3/genericData:LIST()GenericData 4/assignedGatekeeper:AlternateGK
UnregistrationReject = SEQ* requestSeqNum:RequestSeqNum rejectReason:UnregRejectReason
  nonStandardData?:NonStandardParameter | 0/altGKInfo:AltGKInfo 2/cryptoTokens:LIST()CryptoH323Token
  4/genericData:LIST()GenericData
UnregistrationRequest = SEQ* requestSeqNum:RequestSeqNum callSignalAddress:LIST()TransportAddress
  endpointAlias?:LIST()AliasAddress nonStandardData?:NonStandardParameter endpointIdentifier?:EndpointIdentifier |
  0/alternateEndpoints:LIST()Endpoint 3/cryptoTokens:LIST()CryptoH323Token 6/endpointAliasPattern:LIST()AddressPattern
  7/supportedPrefixes:LIST()SupportedPrefix 8/alternateGatekeeper:LIST()AlternateGK 9/genericData:LIST()GenericData
  10/assignedGatekeeper:AlternateGK
VendorIdentifier = SEQ* vendor:H221NonStandard productId?:OCTETS(1..256) versionId?:OCTETS(1..256)
VoiceCaps = SEQ* nonStandardData?:NonStandardParameter | 1/supportedPrefixes:LIST()SupportedPrefix
H235.ChallengeString = OCTETS(8..128)
H235.ClearToken = SEQ* tokenOID:OID timeStamp?:H235.TimeStamp password?:H235.Password dhkey?:H235.DHset
  challenge?:H235.ChallengeString random?:H235.RandomVal certificate?:H235.TypedCertificate generalID?:H235.Identifier
  nonStandard?:H235.NonStandardParameter
H235.CryptoToken = CHOICE* cryptoEncryptedToken:H235.CryptoToken.cryptoEncryptedToken
  cryptoSignedToken:H235.CryptoToken.cryptoSignedToken cryptoHashedToken:H235.CryptoToken.cryptoHashedToken
  cryptoPwdEncr:H235.ENCRYPTED
H235.CryptoToken.cryptoEncryptedToken = SEQ tokenOID:OID token:H235.ENCRYPTED
H235.CryptoToken.cryptoHashedToken = SEQ tokenOID:OID hashedVals:H235.ClearToken token:H235.HASHED
H235.CryptoToken.cryptoSignedToken = SEQ tokenOID:OID token:H235.SIGNED
H235.DHset = SEQ* halfkey:BITS(0..2048) modSize:BITS(0..2048) generator:BITS(0..2048)
H235.ENCRYPTED = SEQ algorithmOID:OID paramS:H235.Params encryptedData:OCTETS()
H235.HASHED = SEQ algorithmOID:OID paramS:H235.Params hash:BITS()
H235.IV8 = OCTETS(8)
H235.Identifier = CHARS16(1..128)
H235.NonStandardParameter = SEQ nonStandardIdentifier:OID data:OCTETS()
H235.Params = SEQ* ranInt?:INT() iv8?:H235.IV8
H235.Password = CHARS16(1..128)
H235.RandomVal = INT()
H235.SIGNED = SEQ toBeSigned:OPEN algorithmOID:OID paramS:H235.Params signature:BITS()
H235.TimeStamp = INT(1..4294967295)
H235.TypedCertificate = SEQ* type:OID certificate:OCTETS()
H245.DataProtocolCapability = CHOICE* nonStandard:H245.NonStandardParameter v14buffered:NULL v42lapm:NULL
  hdlcFrameTunnelling:NULL h310SeparateVCStack:NULL h310SingleVCStack:NULL transparent:NULL | 5/tcp:NULL 6/udp:NULL
H245.NonStandardIdentifier = CHOICE object:OID h221NonStandard:H245.NonStandardIdentifier.h221NonStandard
H245.NonStandardIdentifier.h221NonStandard = SEQ t35CountryCode:INT(0..255) t35Extension:INT(0..255)
  manufacturerCode:INT(0..65535)
H245.NonStandardParameter = SEQ nonStandardIdentifier:H245.NonStandardIdentifier data:OCTETS()
H245.T38FaxProfile = SEQ* fillBitRemoval:BOOL transcodingJBIG:BOOL transcodingMMR:BOOL
"""

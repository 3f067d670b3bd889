"""What stands in messages of H.245, a line for each type (`schema.py`).

Made by `python -m tools.h323_tables` from the ASN.1 that ITU-T publishes. It is not edited by hand.
"""

TYPES = r"""
AlternativeCapabilitySet = LIST(1..256)CapabilityTableEntryNumber
AudioCapability = CHOICE* nonStandard:NonStandardParameter g711Alaw64k:INT(1..256) g711Alaw56k:INT(1..256)
  g711Ulaw64k:INT(1..256) g711Ulaw56k:INT(1..256) g722-64k:INT(1..256) g722-56k:INT(1..256) g722-48k:INT(1..256)
  g7231:AudioCapability.g7231 g728:INT(1..256) g729:INT(1..256) g729AnnexA:INT(1..256)
  is11172AudioCapability:IS11172AudioCapability is13818AudioCapability:IS13818AudioCapability
AudioCapability.g7231 = SEQ maxAl-sduAudioFrames:INT(1..256) silenceSuppression:BOOL
AudioMode = CHOICE* nonStandard:NonStandardParameter g711Alaw64k:NULL g711Alaw56k:NULL g711Ulaw64k:NULL
  g711Ulaw56k:NULL g722-64k:NULL g722-56k:NULL g722-48k:NULL g728:NULL g729:NULL g729AnnexA:NULL g7231:AudioMode.g7231
  is11172AudioMode:IS11172AudioMode is13818AudioMode:IS13818AudioMode
AudioMode.g7231 = CHOICE noSilenceSuppressionLowRate:NULL noSilenceSuppressionHighRate:NULL
  silenceSuppressionLowRate:NULL silenceSuppressionHighRate:NULL
CRCLength = CHOICE* crc8bit:NULL crc16bit:NULL crc32bit:NULL
Capability = CHOICE* nonStandard:NonStandardParameter receiveVideoCapability:VideoCapability
  transmitVideoCapability:VideoCapability receiveAndTransmitVideoCapability:VideoCapability
  receiveAudioCapability:AudioCapability transmitAudioCapability:AudioCapability
  receiveAndTransmitAudioCapability:AudioCapability receiveDataApplicationCapability:DataApplicationCapability
  transmitDataApplicationCapability:DataApplicationCapability
  receiveAndTransmitDataApplicationCapability:DataApplicationCapability h233EncryptionTransmitCapability:BOOL
  h233EncryptionReceiveCapability:Capability.h233EncryptionReceiveCapability
Capability.h233EncryptionReceiveCapability = SEQ* h233IVResponseTime:INT(0..255)
CapabilityDescriptor = SEQ capabilityDescriptorNumber:CapabilityDescriptorNumber
  simultaneousCapabilities?:LIST(1..256)AlternativeCapabilitySet
CapabilityDescriptorNumber = INT(0..255)
CapabilityTableEntry = SEQ capabilityTableEntryNumber:CapabilityTableEntryNumber capability?:Capability
CapabilityTableEntryNumber = INT(1..65535)
CloseLogicalChannel = SEQ* forwardLogicalChannelNumber:LogicalChannelNumber source:CloseLogicalChannel.source
CloseLogicalChannel.source = CHOICE user:NULL lcse:NULL
CloseLogicalChannelAck = SEQ* forwardLogicalChannelNumber:LogicalChannelNumber
CommandMessage = CHOICE* nonStandard:NonStandardMessage maintenanceLoopOffCommand:MaintenanceLoopOffCommand
  sendTerminalCapabilitySet:SendTerminalCapabilitySet encryptionCommand:EncryptionCommand
  flowControlCommand:FlowControlCommand endSessionCommand:EndSessionCommand miscellaneousCommand:MiscellaneousCommand
  | 0/communicationModeCommand:CommunicationModeCommand
CommunicationModeCommand = SEQ* communicationModeTable:LIST(1..256)CommunicationModeTableEntry
CommunicationModeResponse = CHOICE* communicationModeTable:LIST(1..256)CommunicationModeTableEntry
CommunicationModeTableEntry = SEQ* nonStandard?:LIST()NonStandardParameter sessionID:INT(1..255)
  associatedSessionID?:INT(1..255) terminalLabel?:TerminalLabel sessionDescription:CHARS16(1..128)
  dataType:CommunicationModeTableEntry.dataType mediaChannel?:TransportAddress mediaGuaranteedDelivery?:BOOL
  mediaControlChannel?:TransportAddress mediaControlGuaranteedDelivery?:BOOL
CommunicationModeTableEntry.dataType = CHOICE* videoData:VideoCapability audioData:AudioCapability
  data:DataApplicationCapability
DataApplicationCapability = SEQ* application:DataApplicationCapability.application maxBitRate:INT(0..4294967295)
DataApplicationCapability.application = CHOICE* nonStandard:NonStandardParameter t120:DataProtocolCapability
  dsm-cc:DataProtocolCapability userData:DataProtocolCapability t84:DataApplicationCapability.application.t84
  t434:DataProtocolCapability h224:DataProtocolCapability nlpid:DataApplicationCapability.application.nlpid
  dsvdControl:NULL h222DataPartitioning:DataProtocolCapability | 2/t38fax:DataApplicationCapability.application.t38fax
DataApplicationCapability.application.nlpid = SEQ nlpidProtocol:DataProtocolCapability nlpidData:OCTETS()
DataApplicationCapability.application.t38fax = SEQ t38FaxProtocol:DataProtocolCapability t38FaxProfile:T38FaxProfile
DataApplicationCapability.application.t84 = SEQ t84Protocol:DataProtocolCapability t84Profile:T84Profile
DataMode = SEQ* application:DataMode.application bitRate:INT(0..4294967295)
DataMode.application = CHOICE* nonStandard:NonStandardParameter t120:DataProtocolCapability
  dsm-cc:DataProtocolCapability userData:DataProtocolCapability t84:DataProtocolCapability t434:DataProtocolCapability
  h224:DataProtocolCapability nlpid:DataMode.application.nlpid dsvdControl:NULL
  h222DataPartitioning:DataProtocolCapability | 2/t38fax:DataMode.application.t38fax
DataMode.application.nlpid = SEQ nlpidProtocol:DataProtocolCapability nlpidData:OCTETS()
DataMode.application.t38fax = SEQ t38FaxProtocol:DataProtocolCapability t38FaxProfile:T38FaxProfile
DataProtocolCapability = CHOICE* nonStandard:NonStandardParameter v14buffered:NULL v42lapm:NULL
  hdlcFrameTunnelling:NULL h310SeparateVCStack:NULL h310SingleVCStack:NULL transparent:NULL | 5/tcp:NULL 6/udp:NULL
DataType = CHOICE* nonStandard:NonStandardParameter nullData:NULL videoData:VideoCapability audioData:AudioCapability
  data:DataApplicationCapability encryptionData:EncryptionMode
EncryptionCommand = CHOICE* encryptionSE:OCTETS() encryptionIVRequest:NULL
  encryptionAlgorithmID:EncryptionCommand.encryptionAlgorithmID
EncryptionCommand.encryptionAlgorithmID = SEQ h233AlgorithmIdentifier:SequenceNumber
  associatedAlgorithm:NonStandardParameter
EncryptionMode = CHOICE* nonStandard:NonStandardParameter h233Encryption:NULL
EndSessionCommand = CHOICE* nonStandard:NonStandardParameter disconnect:NULL gstnOptions:EndSessionCommand.gstnOptions
EndSessionCommand.gstnOptions = CHOICE* telephonyMode:NULL v8bis:NULL v34DSVD:NULL v34DuplexFAX:NULL v34H324:NULL
FlowControlCommand = SEQ* scope:FlowControlCommand.scope restriction:FlowControlCommand.restriction
FlowControlCommand.restriction = CHOICE maximumBitRate:INT(0..16777215) noRestriction:NULL
FlowControlCommand.scope = CHOICE logicalChannelNumber:LogicalChannelNumber resourceID:INT(0..65535)
  wholeMultiplex:NULL
FunctionNotUnderstood = CHOICE request:RequestMessage response:ResponseMessage command:CommandMessage
H222Capability = SEQ* numberOfVCs:INT(1..256) vcCapability:LIST()VCCapability
H222LogicalChannelParameters = SEQ* resourceID:INT(0..65535) subChannelID:INT(0..8191) pcr-pid?:INT(0..8191)
  programDescriptors?:OCTETS() streamDescriptors?:OCTETS()
H223Capability = SEQ* transportWithI-frames:BOOL videoWithAL1:BOOL videoWithAL2:BOOL videoWithAL3:BOOL
  audioWithAL1:BOOL audioWithAL2:BOOL audioWithAL3:BOOL dataWithAL1:BOOL dataWithAL2:BOOL dataWithAL3:BOOL
  maximumAl2SDUSize:INT(0..65535) maximumAl3SDUSize:INT(0..65535) maximumDelayJitter:INT(0..1023)
  h223MultiplexTableCapability:H223Capability.h223MultiplexTableCapability
H223Capability.h223MultiplexTableCapability = CHOICE basic:NULL
  enhanced:H223Capability.h223MultiplexTableCapability.enhanced
H223Capability.h223MultiplexTableCapability.enhanced = SEQ* maximumNestingDepth:INT(1..15)
  maximumElementListSize:INT(2..255) maximumSubElementListSize:INT(2..255)
H223LogicalChannelParameters = SEQ* adaptationLayerType:H223LogicalChannelParameters.adaptationLayerType
  segmentableFlag:BOOL
H223LogicalChannelParameters.adaptationLayerType = CHOICE* nonStandard:NonStandardParameter al1Framed:NULL
  al1NotFramed:NULL al2WithoutSequenceNumbers:NULL al2WithSequenceNumbers:NULL
  al3:H223LogicalChannelParameters.adaptationLayerType.al3
H223LogicalChannelParameters.adaptationLayerType.al3 = SEQ controlFieldOctets:INT(0..2)
  sendBufferSize:INT(0..16777215)
H223ModeParameters = SEQ* adaptationLayerType:H223ModeParameters.adaptationLayerType segmentableFlag:BOOL
H223ModeParameters.adaptationLayerType = CHOICE* nonStandard:NonStandardParameter al1Framed:NULL al1NotFramed:NULL
  al2WithoutSequenceNumbers:NULL al2WithSequenceNumbers:NULL al3:H223ModeParameters.adaptationLayerType.al3
H223ModeParameters.adaptationLayerType.al3 = SEQ controlFieldOctets:INT(0..2) sendBufferSize:INT(0..16777215)
H223SkewIndication = SEQ* logicalChannelNumber1:LogicalChannelNumber logicalChannelNumber2:LogicalChannelNumber
  skew:INT(0..4095)
H2250LogicalChannelAckParameters = SEQ* nonStandard?:LIST()NonStandardParameter sessionID?:INT(1..255)
  mediaChannel?:TransportAddress mediaControlChannel?:TransportAddress dynamicRTPPayloadType?:INT(96..127)
H2250LogicalChannelParameters = SEQ* nonStandard?:LIST()NonStandardParameter sessionID:INT(0..255)
  associatedSessionID?:INT(1..255) mediaChannel?:TransportAddress mediaGuaranteedDelivery?:BOOL
  mediaControlChannel?:TransportAddress mediaControlGuaranteedDelivery?:BOOL silenceSuppression?:BOOL
  destination?:TerminalLabel dynamicRTPPayloadType?:INT(96..127)
  mediaPacketization?:H2250LogicalChannelParameters.mediaPacketization
H2250LogicalChannelParameters.mediaPacketization = CHOICE* h261aVideoPacketization:NULL
H261VideoCapability = SEQ* qcifMPI?:INT(1..4) cifMPI?:INT(1..4) temporalSpatialTradeOffCapability:BOOL
  maxBitRate:INT(1..19200) stillImageTransmission:BOOL
H261VideoMode = SEQ* resolution:H261VideoMode.resolution bitRate:INT(1..19200) stillImageTransmission:BOOL
H261VideoMode.resolution = CHOICE qcif:NULL cif:NULL
H262VideoCapability = SEQ* profileAndLevel-SPatML:BOOL profileAndLevel-MPatLL:BOOL profileAndLevel-MPatML:BOOL
  profileAndLevel-MPatH-14:BOOL profileAndLevel-MPatHL:BOOL profileAndLevel-SNRatLL:BOOL profileAndLevel-SNRatML:BOOL
  profileAndLevel-SpatialatH-14:BOOL profileAndLevel-HPatML:BOOL profileAndLevel-HPatH-14:BOOL
  profileAndLevel-HPatHL:BOOL videoBitRate?:INT(0..1073741823) vbvBufferSize?:INT(0..262143)
  samplesPerLine?:INT(0..16383) linesPerFrame?:INT(0..16383) framesPerSecond?:INT(0..15)
  luminanceSampleRate?:INT(0..4294967295)
H262VideoMode = SEQ* profileAndLevel:H262VideoMode.profileAndLevel videoBitRate?:INT(0..1073741823)
  vbvBufferSize?:INT(0..262143) samplesPerLine?:INT(0..16383) linesPerFrame?:INT(0..16383) framesPerSecond?:INT(0..15)
  luminanceSampleRate?:INT(0..4294967295)
H262VideoMode.profileAndLevel = CHOICE* profileAndLevel-SPatML:NULL profileAndLevel-MPatLL:NULL
  profileAndLevel-MPatML:NULL profileAndLevel-MPatH-14:NULL profileAndLevel-MPatHL:NULL profileAndLevel-SNRatLL:NULL
  profileAndLevel-SNRatML:NULL profileAndLevel-SpatialatH-14:NULL profileAndLevel-HPatML:NULL
  profileAndLevel-HPatH-14:NULL profileAndLevel-HPatHL:NULL
H263VideoCapability = SEQ* sqcifMPI?:INT(1..32) qcifMPI?:INT(1..32) cifMPI?:INT(1..32) cif4MPI?:INT(1..32)
  cif16MPI?:INT(1..32) maxBitRate:INT(1..192400) unrestrictedVector:BOOL arithmeticCoding:BOOL advancedPrediction:BOOL
  pbFrames:BOOL temporalSpatialTradeOffCapability:BOOL hrd-B?:INT(0..524287) bppMaxKb?:INT(0..65535)
H263VideoMode = SEQ* resolution:H263VideoMode.resolution bitRate:INT(1..19200) unrestrictedVector:BOOL
  arithmeticCoding:BOOL advancedPrediction:BOOL pbFrames:BOOL
H263VideoMode.resolution = CHOICE* sqcif:NULL qcif:NULL cif:NULL cif4:NULL cif16:NULL
IS11172AudioCapability = SEQ* audioLayer1:BOOL audioLayer2:BOOL audioLayer3:BOOL audioSampling32k:BOOL
  audioSampling44k1:BOOL audioSampling48k:BOOL singleChannel:BOOL twoChannels:BOOL bitRate:INT(1..448)
IS11172AudioMode = SEQ* audioLayer:IS11172AudioMode.audioLayer audioSampling:IS11172AudioMode.audioSampling
  multichannelType:IS11172AudioMode.multichannelType bitRate:INT(1..448)
IS11172AudioMode.audioLayer = CHOICE audioLayer1:NULL audioLayer2:NULL audioLayer3:NULL
IS11172AudioMode.audioSampling = CHOICE audioSampling32k:NULL audioSampling44k1:NULL audioSampling48k:NULL
IS11172AudioMode.multichannelType = CHOICE singleChannel:NULL twoChannelStereo:NULL twoChannelDual:NULL
IS11172VideoCapability = SEQ* constrainedBitstream:BOOL videoBitRate?:INT(0..1073741823) vbvBufferSize?:INT(0..262143)
  samplesPerLine?:INT(0..16383) linesPerFrame?:INT(0..16383) pictureRate?:INT(0..15)
  luminanceSampleRate?:INT(0..4294967295)
IS11172VideoMode = SEQ* constrainedBitstream:BOOL videoBitRate?:INT(0..1073741823) vbvBufferSize?:INT(0..262143)
  samplesPerLine?:INT(0..16383) linesPerFrame?:INT(0..16383) pictureRate?:INT(0..15)
  luminanceSampleRate?:INT(0..4294967295)
IS13818AudioCapability = SEQ* audioLayer1:BOOL audioLayer2:BOOL audioLayer3:BOOL audioSampling16k:BOOL
  audioSampling22k05:BOOL audioSampling24k:BOOL audioSampling32k:BOOL audioSampling44k1:BOOL audioSampling48k:BOOL
  singleChannel:BOOL twoChannels:BOOL threeChannels2-1:BOOL threeChannels3-0:BOOL fourChannels2-0-2-0:BOOL
  fourChannels2-2:BOOL fourChannels3-1:BOOL fiveChannels3-0-2-0:BOOL fiveChannels3-2:BOOL lowFrequencyEnhancement:BOOL
  multilingual:BOOL bitRate:INT(1..1130)
IS13818AudioMode = SEQ* audioLayer:IS13818AudioMode.audioLayer audioSampling:IS13818AudioMode.audioSampling
  multichannelType:IS13818AudioMode.multichannelType lowFrequencyEnhancement:BOOL multilingual:BOOL
  bitRate:INT(1..1130)
IS13818AudioMode.audioLayer = CHOICE audioLayer1:NULL audioLayer2:NULL audioLayer3:NULL
IS13818AudioMode.audioSampling = CHOICE audioSampling16k:NULL audioSampling22k05:NULL audioSampling24k:NULL
  audioSampling32k:NULL audioSampling44k1:NULL audioSampling48k:NULL
IS13818AudioMode.multichannelType = CHOICE singleChannel:NULL twoChannelStereo:NULL twoChannelDual:NULL
  threeChannels2-1:NULL threeChannels3-0:NULL fourChannels2-0-2-0:NULL fourChannels2-2:NULL fourChannels3-1:NULL
  fiveChannels3-0-2-0:NULL fiveChannels3-2:NULL
IndicationMessage = CHOICE* nonStandard:NonStandardMessage functionNotUnderstood:FunctionNotUnderstood
  masterSlaveDeterminationRelease:MasterSlaveDeterminationRelease
  terminalCapabilitySetRelease:TerminalCapabilitySetRelease openLogicalChannelConfirm:OpenLogicalChannelConfirm
  requestChannelCloseRelease:RequestChannelCloseRelease multiplexEntrySendRelease:MultiplexEntrySendRelease
  requestMultiplexEntryRelease:RequestMultiplexEntryRelease requestModeRelease:RequestModeRelease
  miscellaneousIndication:MiscellaneousIndication jitterIndication:JitterIndication
  h223SkewIndication:H223SkewIndication newATMVCIndication:NewATMVCIndication userInput:UserInputIndication |
  1/mcLocationIndication:MCLocationIndication
JitterIndication = SEQ* scope:JitterIndication.scope estimatedReceivedJitterMantissa:INT(0..3)
  estimatedReceivedJitterExponent:INT(0..7) skippedFrameCount?:INT(0..15) additionalDecoderBuffer?:INT(0..262143)
JitterIndication.scope = CHOICE logicalChannelNumber:LogicalChannelNumber resourceID:INT(0..65535) wholeMultiplex:NULL
LogicalChannelNumber = INT(1..65535)
MCLocationIndication = SEQ* signalAddress:TransportAddress
MaintenanceLoopAck = SEQ* type:MaintenanceLoopAck.type
MaintenanceLoopAck.type = CHOICE* systemLoop:NULL mediaLoop:LogicalChannelNumber
  logicalChannelLoop:LogicalChannelNumber
MaintenanceLoopOffCommand = SEQ*
MaintenanceLoopReject = SEQ* type:MaintenanceLoopReject.type cause:MaintenanceLoopReject.cause
MaintenanceLoopReject.cause = CHOICE* canNotPerformLoop:NULL
MaintenanceLoopReject.type = CHOICE* systemLoop:NULL mediaLoop:LogicalChannelNumber
  logicalChannelLoop:LogicalChannelNumber
MaintenanceLoopRequest = SEQ* type:MaintenanceLoopRequest.type
MaintenanceLoopRequest.type = CHOICE* systemLoop:NULL mediaLoop:LogicalChannelNumber
  logicalChannelLoop:LogicalChannelNumber
MasterSlaveDetermination = SEQ* terminalType:INT(0..255) statusDeterminationNumber:INT(0..16777215)
MasterSlaveDeterminationAck = SEQ* decision:MasterSlaveDeterminationAck.decision
MasterSlaveDeterminationAck.decision = CHOICE master:NULL slave:NULL
MasterSlaveDeterminationReject = SEQ* cause:MasterSlaveDeterminationReject.cause
MasterSlaveDeterminationReject.cause = CHOICE* identicalNumbers:NULL
MasterSlaveDeterminationRelease = SEQ*
McuNumber = INT(0..192)
MiscellaneousCommand = SEQ* logicalChannelNumber:LogicalChannelNumber type:MiscellaneousCommand.type
MiscellaneousCommand.type = CHOICE* equaliseDelay:NULL zeroDelay:NULL multipointModeCommand:NULL
  cancelMultipointModeCommand:NULL videoFreezePicture:NULL videoFastUpdatePicture:NULL
  videoFastUpdateGOB:MiscellaneousCommand.type.videoFastUpdateGOB videoTemporalSpatialTradeOff:INT(0..31)
  videoSendSyncEveryGOB:NULL videoSendSyncEveryGOBCancel:NULL
MiscellaneousCommand.type.videoFastUpdateGOB = SEQ firstGOB:INT(0..17) numberOfGOBs:INT(1..18)
MiscellaneousIndication = SEQ* logicalChannelNumber:LogicalChannelNumber type:MiscellaneousIndication.type
MiscellaneousIndication.type = CHOICE* logicalChannelActive:NULL logicalChannelInactive:NULL multipointConference:NULL
  cancelMultipointConference:NULL multipointZeroComm:NULL cancelMultipointZeroComm:NULL multipointSecondaryStatus:NULL
  cancelMultipointSecondaryStatus:NULL videoIndicateReadyToActivate:NULL videoTemporalSpatialTradeOff:INT(0..31)
ModeDescription = LIST(1..256)ModeElement
ModeElement = SEQ* type:ModeElementType h223ModeParameters?:H223ModeParameters
ModeElementType = CHOICE* nonStandard:NonStandardParameter videoMode:VideoMode audioMode:AudioMode dataMode:DataMode
  encryptionMode:EncryptionMode
MulticastAddress = CHOICE* iPAddress:MulticastAddress.iPAddress iP6Address:MulticastAddress.iP6Address
MulticastAddress.iP6Address = SEQ* network:OCTETS(16) tsapIdentifier:INT(0..65535)
MulticastAddress.iPAddress = SEQ* network:OCTETS(4) tsapIdentifier:INT(0..65535)
MultimediaSystemControlMessage = CHOICE* request:RequestMessage response:ResponseMessage command:CommandMessage
  indication:IndicationMessage
MultiplexCapability = CHOICE* nonStandard:NonStandardParameter h222Capability:H222Capability
  h223Capability:H223Capability v76Capability:V76Capability
MultiplexElement = SEQ type:MultiplexElement.type repeatCount:MultiplexElement.repeatCount
MultiplexElement.repeatCount = CHOICE finite:INT(1..65535) untilClosingFlag:NULL
MultiplexElement.type = CHOICE logicalChannelNumber:INT(0..65535) subElementList:LIST(2..255)MultiplexElement
MultiplexEntryDescriptor = SEQ multiplexTableEntryNumber:MultiplexTableEntryNumber
  elementList?:LIST(1..256)MultiplexElement
MultiplexEntryRejectionDescriptions = SEQ* multiplexTableEntryNumber:MultiplexTableEntryNumber
  cause:MultiplexEntryRejectionDescriptions.cause
MultiplexEntryRejectionDescriptions.cause = CHOICE* unspecifiedCause:NULL descriptorTooComplex:NULL
MultiplexEntrySend = SEQ* sequenceNumber:SequenceNumber multiplexEntryDescriptors:LIST(1..15)MultiplexEntryDescriptor
MultiplexEntrySendAck = SEQ* sequenceNumber:SequenceNumber
  multiplexTableEntryNumber:LIST(1..15)MultiplexTableEntryNumber
MultiplexEntrySendReject = SEQ* sequenceNumber:SequenceNumber
  rejectionDescriptions:LIST(1..15)MultiplexEntryRejectionDescriptions
MultiplexEntrySendRelease = SEQ* multiplexTableEntryNumber:LIST(1..15)MultiplexTableEntryNumber
MultiplexTableEntryNumber = INT(1..15)
NetworkAccessParameters = SEQ* distribution?:NetworkAccessParameters.distribution
  networkAddress:NetworkAccessParameters.networkAddress associateConference:BOOL externalReference?:OCTETS(1..255) |
  0/t120SetupProcedure:NetworkAccessParameters.t120SetupProcedure
NetworkAccessParameters.distribution = CHOICE* unicast:NULL multicast:NULL
NetworkAccessParameters.networkAddress = CHOICE* q2931Address:Q2931Address e164Address:CHARS4[#*,0123456789](1..128)
  localAreaAddress:TransportAddress
NetworkAccessParameters.t120SetupProcedure = CHOICE* originateCall:NULL waitForCall:NULL issueQuery:NULL
NewATMVCIndication = SEQ* resourceID:INT(0..65535) bitRate:INT(1..65535) bitRateLockedToPCRClock:BOOL
  bitRateLockedToNetworkClock:BOOL aal:NewATMVCIndication.aal multiplex:NewATMVCIndication.multiplex
NewATMVCIndication.aal = CHOICE* aal1:NewATMVCIndication.aal.aal1 aal5:NewATMVCIndication.aal.aal5
NewATMVCIndication.aal.aal1 = SEQ* clockRecovery:NewATMVCIndication.aal.aal1.clockRecovery
  errorCorrection:NewATMVCIndication.aal.aal1.errorCorrection structuredDataTransfer:BOOL partiallyFilledCells:BOOL
NewATMVCIndication.aal.aal1.clockRecovery = CHOICE* nullClockRecovery:NULL srtsClockRecovery:NULL
  adaptiveClockRecovery:NULL
NewATMVCIndication.aal.aal1.errorCorrection = CHOICE* nullErrorCorrection:NULL longInterleaver:NULL
  shortInterleaver:NULL errorCorrectionOnly:NULL
NewATMVCIndication.aal.aal5 = SEQ* forwardMaximumSDUSize:INT(0..65535) backwardMaximumSDUSize:INT(0..65535)
NewATMVCIndication.multiplex = CHOICE* noMultiplex:NULL transportStream:NULL programStream:NULL
NonStandardIdentifier = CHOICE object:OID h221NonStandard:NonStandardIdentifier.h221NonStandard
NonStandardIdentifier.h221NonStandard = SEQ t35CountryCode:INT(0..255) t35Extension:INT(0..255)
  manufacturerCode:INT(0..65535)
NonStandardMessage = SEQ* nonStandardData:NonStandardParameter
NonStandardParameter = SEQ nonStandardIdentifier:NonStandardIdentifier data:OCTETS()
OpenLogicalChannel = SEQ* forwardLogicalChannelNumber:LogicalChannelNumber
  forwardLogicalChannelParameters:OpenLogicalChannel.forwardLogicalChannelParameters
  reverseLogicalChannelParameters?:OpenLogicalChannel.reverseLogicalChannelParameters |
  0/separateStack:NetworkAccessParameters
OpenLogicalChannel.forwardLogicalChannelParameters = SEQ* portNumber?:INT(0..65535) dataType:DataType
  multiplexParameters:OpenLogicalChannel.forwardLogicalChannelParameters.multiplexParameters
OpenLogicalChannel.forwardLogicalChannelParameters.multiplexParameters = CHOICE*
  h222LogicalChannelParameters:H222LogicalChannelParameters h223LogicalChannelParameters:H223LogicalChannelParameters
  v76LogicalChannelParameters:V76LogicalChannelParameters |
  0/h2250LogicalChannelParameters:H2250LogicalChannelParameters
OpenLogicalChannel.reverseLogicalChannelParameters = SEQ* dataType:DataType
  multiplexParameters?:OpenLogicalChannel.reverseLogicalChannelParameters.multiplexParameters
OpenLogicalChannel.reverseLogicalChannelParameters.multiplexParameters = CHOICE*
  h223LogicalChannelParameters:H223LogicalChannelParameters v76LogicalChannelParameters:V76LogicalChannelParameters |
  0/h2250LogicalChannelParameters:H2250LogicalChannelParameters
OpenLogicalChannelAck = SEQ* forwardLogicalChannelNumber:LogicalChannelNumber
  reverseLogicalChannelParameters?:OpenLogicalChannelAck.reverseLogicalChannelParameters |
  0/separateStack:NetworkAccessParameters
  1/forwardMultiplexAckParameters:OpenLogicalChannelAck.forwardMultiplexAckParameters
OpenLogicalChannelAck.forwardMultiplexAckParameters = CHOICE*
  h2250LogicalChannelAckParameters:H2250LogicalChannelAckParameters
OpenLogicalChannelAck.reverseLogicalChannelParameters = SEQ* reverseLogicalChannelNumber:LogicalChannelNumber
  portNumber?:INT(0..65535)
  multiplexParameters?:OpenLogicalChannelAck.reverseLogicalChannelParameters.multiplexParameters
OpenLogicalChannelAck.reverseLogicalChannelParameters.multiplexParameters = CHOICE*
  h222LogicalChannelParameters:H222LogicalChannelParameters |
  0/h2250LogicalChannelParameters:H2250LogicalChannelParameters
OpenLogicalChannelConfirm = SEQ* forwardLogicalChannelNumber:LogicalChannelNumber
OpenLogicalChannelReject = SEQ* forwardLogicalChannelNumber:LogicalChannelNumber cause:OpenLogicalChannelReject.cause
OpenLogicalChannelReject.cause = CHOICE* unspecified:NULL unsuitableReverseParameters:NULL dataTypeNotSupported:NULL
  dataTypeNotAvailable:NULL unknownDataType:NULL dataTypeALCombinationNotSupported:NULL | 8/securityDenied:NULL
Q2931Address = SEQ* address:Q2931Address.address subaddress?:OCTETS(1..20)
Q2931Address.address = CHOICE* internationalNumber:CHARS4(1..16) nsapAddress:OCTETS(1..20)
RequestChannelClose = SEQ* forwardLogicalChannelNumber:LogicalChannelNumber
RequestChannelCloseAck = SEQ* forwardLogicalChannelNumber:LogicalChannelNumber
RequestChannelCloseReject = SEQ* forwardLogicalChannelNumber:LogicalChannelNumber
  cause:RequestChannelCloseReject.cause
RequestChannelCloseReject.cause = CHOICE* unspecified:NULL
RequestChannelCloseRelease = SEQ* forwardLogicalChannelNumber:LogicalChannelNumber
RequestMessage = CHOICE* nonStandard:NonStandardMessage masterSlaveDetermination:MasterSlaveDetermination
  terminalCapabilitySet:TerminalCapabilitySet openLogicalChannel:OpenLogicalChannel
  closeLogicalChannel:CloseLogicalChannel requestChannelClose:RequestChannelClose
  multiplexEntrySend:MultiplexEntrySend requestMultiplexEntry:RequestMultiplexEntry requestMode:RequestMode
  roundTripDelayRequest:RoundTripDelayRequest maintenanceLoopRequest:MaintenanceLoopRequest
RequestMode = SEQ* sequenceNumber:SequenceNumber requestedModes:LIST(1..256)ModeDescription
RequestModeAck = SEQ* sequenceNumber:SequenceNumber response:RequestModeAck.response
RequestModeAck.response = CHOICE* willTransmitMostPreferredMode:NULL willTransmitLessPreferredMode:NULL
RequestModeReject = SEQ* sequenceNumber:SequenceNumber cause:RequestModeReject.cause
RequestModeReject.cause = CHOICE* modeUnavailable:NULL multipointConstraint:NULL requestDenied:NULL
RequestModeRelease = SEQ*
RequestMultiplexEntry = SEQ* entryNumbers:LIST(1..15)MultiplexTableEntryNumber
RequestMultiplexEntryAck = SEQ* entryNumbers:LIST(1..15)MultiplexTableEntryNumber
RequestMultiplexEntryReject = SEQ* entryNumbers:LIST(1..15)MultiplexTableEntryNumber
  rejectionDescriptions:LIST(1..15)RequestMultiplexEntryRejectionDescriptions
RequestMultiplexEntryRejectionDescriptions = SEQ* multiplexTableEntryNumber:MultiplexTableEntryNumber
  cause:RequestMultiplexEntryRejectionDescriptions.cause
RequestMultiplexEntryRejectionDescriptions.cause = CHOICE* unspecifiedCause:NULL
RequestMultiplexEntryRelease = SEQ* entryNumbers:LIST(1..15)MultiplexTableEntryNumber
ResponseMessage = CHOICE* nonStandard:NonStandardMessage masterSlaveDeterminationAck:MasterSlaveDeterminationAck
  masterSlaveDeterminationReject:MasterSlaveDeterminationReject terminalCapabilitySetAck:TerminalCapabilitySetAck
  terminalCapabilitySetReject:TerminalCapabilitySetReject openLogicalChannelAck:OpenLogicalChannelAck
  openLogicalChannelReject:OpenLogicalChannelReject closeLogicalChannelAck:CloseLogicalChannelAck
  requestChannelCloseAck:RequestChannelCloseAck requestChannelCloseReject:RequestChannelCloseReject
  multiplexEntrySendAck:MultiplexEntrySendAck multiplexEntrySendReject:MultiplexEntrySendReject
  requestMultiplexEntryAck:RequestMultiplexEntryAck requestMultiplexEntryReject:RequestMultiplexEntryReject
  requestModeAck:RequestModeAck requestModeReject:RequestModeReject roundTripDelayResponse:RoundTripDelayResponse
  maintenanceLoopAck:MaintenanceLoopAck maintenanceLoopReject:MaintenanceLoopReject |
  0/communicationModeResponse:CommunicationModeResponse
RoundTripDelayRequest = SEQ* sequenceNumber:SequenceNumber
RoundTripDelayResponse = SEQ* sequenceNumber:SequenceNumber
SendTerminalCapabilitySet = CHOICE* specificRequest:SendTerminalCapabilitySet.specificRequest genericRequest:NULL
SendTerminalCapabilitySet.specificRequest = SEQ* multiplexCapability:BOOL
  capabilityTableEntryNumbers?:LIST(1..65535)CapabilityTableEntryNumber
  capabilityDescriptorNumbers?:LIST(1..256)CapabilityDescriptorNumber
SequenceNumber = INT(0..255)
T38FaxProfile = SEQ* fillBitRemoval:BOOL transcodingJBIG:BOOL transcodingMMR:BOOL
T84Profile = CHOICE t84Unrestricted:NULL t84Restricted:T84Profile.t84Restricted
T84Profile.t84Restricted = SEQ* qcif:BOOL cif:BOOL ccir601Seq:BOOL ccir601Prog:BOOL hdtvSeq:BOOL hdtvProg:BOOL
  g3FacsMH200x100:BOOL g3FacsMH200x200:BOOL g4FacsMMR200x100:BOOL g4FacsMMR200x200:BOOL jbig200x200Seq:BOOL
  jbig200x200Prog:BOOL jbig300x300Seq:BOOL jbig300x300Prog:BOOL digPhotoLow:BOOL digPhotoMedSeq:BOOL
  digPhotoMedProg:BOOL digPhotoHighSeq:BOOL digPhotoHighProg:BOOL
TerminalCapabilitySet = SEQ* sequenceNumber:SequenceNumber protocolIdentifier:OID
  multiplexCapability?:MultiplexCapability capabilityTable?:LIST(1..256)CapabilityTableEntry
  capabilityDescriptors?:LIST(1..256)CapabilityDescriptor
TerminalCapabilitySetAck = SEQ* sequenceNumber:SequenceNumber
TerminalCapabilitySetReject = SEQ* sequenceNumber:SequenceNumber cause:TerminalCapabilitySetReject.cause
TerminalCapabilitySetReject.cause = CHOICE* unspecified:NULL undefinedTableEntryUsed:NULL
  descriptorCapacityExceeded:NULL
  tableEntryCapacityExceeded:TerminalCapabilitySetReject.cause.tableEntryCapacityExceeded
TerminalCapabilitySetReject.cause.tableEntryCapacityExceeded = CHOICE
  highestEntryNumberProcessed:CapabilityTableEntryNumber noneProcessed:NULL
TerminalCapabilitySetRelease = SEQ*
TerminalLabel = SEQ* mcuNumber:McuNumber terminalNumber:TerminalNumber
TerminalNumber = INT(0..192)
TransportAddress = CHOICE* unicastAddress:UnicastAddress multicastAddress:MulticastAddress
UnicastAddress = CHOICE* iPAddress:UnicastAddress.iPAddress iPXAddress:UnicastAddress.iPXAddress
  iP6Address:UnicastAddress.iP6Address netBios:OCTETS(16) iPSourceRouteAddress:UnicastAddress.iPSourceRouteAddress
UnicastAddress.iP6Address = SEQ* network:OCTETS(16) tsapIdentifier:INT(0..65535)
UnicastAddress.iPAddress = SEQ* network:OCTETS(4) tsapIdentifier:INT(0..65535)
UnicastAddress.iPSourceRouteAddress = SEQ* routing:UnicastAddress.iPSourceRouteAddress.routing network:OCTETS(4)
  tsapIdentifier:INT(0..65535) route:LIST()OCTETS(4)
UnicastAddress.iPSourceRouteAddress.routing = CHOICE strict:NULL loose:NULL
UnicastAddress.iPXAddress = SEQ* node:OCTETS(6) netnum:OCTETS(4) tsapIdentifier:OCTETS(2)
UserInputIndication = CHOICE* nonStandard:NonStandardParameter alphanumeric:CHARS8()
V75Capability = SEQ* audioHeader:BOOL
V75Parameters = SEQ* audioHeaderPresent:BOOL
V76Capability = SEQ* suspendResumeCapabilitywAddress:BOOL suspendResumeCapabilitywoAddress:BOOL rejCapability:BOOL
  sREJCapability:BOOL mREJCapability:BOOL crc8bitCapability:BOOL crc16bitCapability:BOOL crc32bitCapability:BOOL
  uihCapability:BOOL numOfDLCS:INT(2..8191) twoOctetAddressFieldCapability:BOOL loopBackTestCapability:BOOL
  n401Capability:INT(1..4095) maxWindowSizeCapability:INT(1..127) v75Capability:V75Capability
V76HDLCParameters = SEQ* crcLength:CRCLength n401:INT(1..4095) loopbackTestProcedure:BOOL
V76LogicalChannelParameters = SEQ* hdlcParameters:V76HDLCParameters
  suspendResume:V76LogicalChannelParameters.suspendResume uIH:BOOL mode:V76LogicalChannelParameters.mode
  v75Parameters:V75Parameters
V76LogicalChannelParameters.mode = CHOICE* eRM:V76LogicalChannelParameters.mode.eRM uNERM:NULL
V76LogicalChannelParameters.mode.eRM = SEQ* windowSize:INT(1..127)
  recovery:V76LogicalChannelParameters.mode.eRM.recovery
V76LogicalChannelParameters.mode.eRM.recovery = CHOICE* rej:NULL sREJ:NULL mSREJ:NULL
V76LogicalChannelParameters.suspendResume = CHOICE* noSuspendResume:NULL suspendResumewAddress:NULL
  suspendResumewoAddress:NULL
VCCapability = SEQ* aal1?:VCCapability.aal1 aal5?:VCCapability.aal5 transportStream:BOOL programStream:BOOL
  availableBitRates:VCCapability.availableBitRates
VCCapability.aal1 = SEQ* nullClockRecovery:BOOL srtsClockRecovery:BOOL adaptiveClockRecovery:BOOL
  nullErrorCorrection:BOOL longInterleaver:BOOL shortInterleaver:BOOL errorCorrectionOnly:BOOL
  structuredDataTransfer:BOOL partiallyFilledCells:BOOL
VCCapability.aal5 = SEQ* forwardMaximumSDUSize:INT(0..65535) backwardMaximumSDUSize:INT(0..65535)
VCCapability.availableBitRates = SEQ* type:VCCapability.availableBitRates.type
VCCapability.availableBitRates.type = CHOICE singleBitRate:INT(1..65535)
  rangeOfBitRates:VCCapability.availableBitRates.type.rangeOfBitRates
VCCapability.availableBitRates.type.rangeOfBitRates = SEQ lowerBitRate:INT(1..65535) higherBitRate:INT(1..65535)
VideoCapability = CHOICE* nonStandard:NonStandardParameter h261VideoCapability:H261VideoCapability
  h262VideoCapability:H262VideoCapability h263VideoCapability:H263VideoCapability
  is11172VideoCapability:IS11172VideoCapability
VideoMode = CHOICE* nonStandard:NonStandardParameter h261VideoMode:H261VideoMode h262VideoMode:H262VideoMode
  h263VideoMode:H263VideoMode is11172VideoMode:IS11172VideoMode
"""

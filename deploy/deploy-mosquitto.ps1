#!/usr/bin/env pwsh
<#
.SYNOPSIS
    Deploys a secured MQTT broker to Azure: a dual-stack machine with stock Mosquitto, mqtt-acl and a LetsEncrypt certificate.
.DESCRIPTION
    Needs PowerShell 7.4, the Azure CLI after `az login`, and an SSH key. Everything goes into one resource group, which
    remove-mosquitto.ps1 deletes. Where it stopped, run it again: it keeps what is there and goes on. An existing machine
    keeps its users, its policy and its package; README.md tells how to change those.

    Each parameter can be given by an environment variable instead: DEPLOY_MQTT_PASSWORD for -MqttPassword, and so on.
.EXAMPLE
    ./deploy-mosquitto.ps1 (Read-Host -AsSecureString) -PackageFile ../mqtt-acl_0.1.0_amd64.deb -SshSourcePrefix 203.0.113.7
.EXAMPLE
    ./deploy-mosquitto.ps1 -UniqueSecrets -PackageUrl https://example.org/mqtt-acl_0.1.0_amd64.deb -PackageSha256 0123...
#>
#requires -Version 7.4
[CmdletBinding(SupportsShouldProcess)]
[Diagnostics.CodeAnalysis.SuppressMessageAttribute('PSAvoidUsingPlainTextForPassword', 'MqttPassword',
    Justification = 'a SecureString is taken too; plain text is what the documented commands pass')]
param(
    # The password of mqttuser: a SecureString, or text. Followed by 2, 3, 4, 5 it is that of mqttservice, dev00001, dev00002
    # and dev00003, which is for trying things out only: see -UniqueSecrets.
    [Parameter(Position = 0)]
    [object] $MqttPassword = $env:DEPLOY_MQTT_PASSWORD,

    # The environment, which is a part of all names: Dev, Test, Prod, ...
    [string] $Environment = $env:DEPLOY_ENVIRONMENT ?? 'Dev',

    # The Azure region. The resource group stays where it was first made.
    [string] $Location = $env:DEPLOY_LOCATION ?? 'australiaeast',

    # Tells your host names from everybody else's. Left out: 0x and the first four characters of the subscription's id.
    [string] $OrgId = $env:DEPLOY_ORG_ID ?? '',

    # The size of the machine.
    [string] $VmSize = $env:DEPLOY_VM_SIZE ?? 'Standard_B2ls_v2',

    # The name under which you log in to the machine.
    [string] $AdminUsername = $env:DEPLOY_ADMIN_USERNAME ?? 'iotadmin',

    # Several servers may stand side by side.
    [int] $ServerNumber = ($env:DEPLOY_SERVER_NUMBER ?? 1),

    # When the machine stops every day, in UTC, as hhmm: 0900 is 19:00 in Brisbane. Empty: never.
    [string] $ShutdownUtc = $env:DEPLOY_SHUTDOWN_UTC ?? '0900',

    # Who is told half an hour before that, and whom LetsEncrypt may write to. Empty: nobody.
    [string] $ShutdownEmail = $env:DEPLOY_SHUTDOWN_EMAIL ?? '',

    # Whether the machine has a public IPv4 address beside the IPv6 one.
    [bool] $AddPublicIpv4 = (($env:DEPLOY_ADD_PUBLIC_IPV4 ?? 'true') -notin @('false', '0', 'no')),

    # Opens port 1883, without TLS, to all: whoever is on the way reads the passwords.
    [switch] $AllowInsecure = (($env:DEPLOY_ALLOW_INSECURE ?? 'false') -in @('true', '1', 'yes')),

    # The addresses that may use SSH, as prefixes: 203.0.113.7/32, 2001:db8::/64; '*' for all. Empty: nobody.
    [string[]] $SshSourcePrefix = @("$env:DEPLOY_SSH_SOURCE_PREFIX" -split '[ ,]+' -ne ''),

    # The public SSH key to log in with. Left out: ~/.ssh/id_ed25519.pub, or else id_rsa.pub.
    [string] $SshPublicKey = $env:DEPLOY_SSH_PUBLIC_KEY ?? '',

    # The id of a subnet with IPv4 and IPv6 to use, in a landing zone for example. Left out: the server has a network of its own.
    [string] $SubnetId = $env:DEPLOY_SUBNET_ID ?? '',

    # The plugin's package, a file of this computer, which is copied to the machine over SSH.
    [string] $PackageFile = $env:DEPLOY_PACKAGE_FILE ?? '',

    # Or where the machine can download it. It must be what -PackageSha256 says.
    [string] $PackageUrl = $env:DEPLOY_PACKAGE_URL ?? '',

    # The SHA-256 of the package at -PackageUrl, in hexadecimal.
    [string] $PackageSha256 = $env:DEPLOY_PACKAGE_SHA256 ?? '',

    # Where the machine gets Mosquitto from: the distribution, or the project's own package archive for Ubuntu (ppa).
    [string] $MosquittoSource = $env:DEPLOY_MOSQUITTO_SOURCE ?? 'distribution',

    # Gives each user a random secret of its own; with -MqttPassword, each but mqttuser.
    [switch] $UniqueSecrets = (($env:DEPLOY_UNIQUE_SECRETS ?? 'false') -in @('true', '1', 'yes')),

    # The file that the random secrets are written to, for your eyes only. Left out: HOSTNAME.secrets in the current folder.
    [string] $SecretsFile = $env:DEPLOY_SECRETS_FILE ?? ''
)
. "$PSScriptRoot/azure.ps1"
. "$PSScriptRoot/credentials.ps1"

# Ubuntu's own, and not the alias, which the Azure CLI changes or drops.
$image = 'Canonical:ubuntu-24_04-lts:server:latest'

# Runs the block, which changes something in Azure, unless this is -WhatIf.
function Invoke-Step {
    [CmdletBinding(SupportsShouldProcess)]
    param(
        [Parameter(Mandatory)] [string] $Target,
        [Parameter(Mandatory)] [scriptblock] $Change
    )
    if ($PSCmdlet.ShouldProcess($Target, 'create or update')) {
        Write-Progress -Activity 'Deploying Mosquitto' -Status $Target
        Write-Verbose $Target
        & $Change
    }
}

# The template with its tokens filled in. Values of several lines keep the indentation of their token.
function Get-CustomData {
    param(
        [Parameter(Mandatory)] [hashtable] $Value
    )
    $text = Get-Content -Raw "$PSScriptRoot/cloud-init.yaml"
    foreach ($token in $Value.Keys) {
        $lines = "$($Value[$token])".TrimEnd() -replace "`r?`n", "`n    "
        $text = $text.Replace("@${token}@", $lines)
    }
    $text = $text -replace "`r`n", "`n"
    if ($text -cmatch '@[A-Z][A-Z0-9_]+@') {
        throw "deploy-mosquitto.ps1 and cloud-init.yaml do not fit together: $($Matches[0]) is not filled in"
    }
    # Azure takes 64 KiB.
    if ([Text.Encoding]::UTF8.GetByteCount($text) -gt 65535) {
        throw 'the rendered cloud-init.yaml is larger than the 65535 bytes that Azure takes: shorten policy.toml'
    }
    $text
}

# One rule of the machine's firewall in Azure; without sources, none.
function Set-FirewallRule {
    [Diagnostics.CodeAnalysis.SuppressMessageAttribute('PSUseShouldProcessForStateChangingFunctions', '',
        Justification = 'called within Invoke-Step')]
    param(
        [Parameter(Mandatory)] [string] $Rule,
        [Parameter(Mandatory)] [int] $Priority,
        [Parameter(Mandatory)] [int] $Port,
        [string[]] $Source = @()
    )
    if ($Source.Count -gt 0) {
        Invoke-Az network nsg rule create --resource-group $name.Group --nsg-name $name.Firewall --name $Rule `
            --priority $Priority --direction Inbound --access Allow --protocol Tcp `
            --source-address-prefixes $Source --source-port-ranges '*' `
            --destination-address-prefixes '*' --destination-port-ranges $Port --output none
        return
    }
    $rules = @(Invoke-Az network nsg rule list --resource-group $name.Group --nsg-name $name.Firewall --output json |
        ConvertFrom-Json)
    if ($Rule -in $rules.name) {
        Invoke-Az network nsg rule delete --resource-group $name.Group --nsg-name $name.Firewall --name $Rule --output none
    }
}

# Runs commands on the machine through Azure, without SSH, and gives back what they printed.
function Invoke-OnMachine {
    param(
        [Parameter(Mandatory)] [string[]] $Command
    )
    $answer = Invoke-Az vm run-command invoke --resource-group $name.Group --name $name.Machine `
        --command-id RunShellScript --scripts $Command --output json | ConvertFrom-Json
    "$($answer.value.message)"
}

# Waits until cloud-init is done, and says what came of it: mosquitto-setup's words.
function Wait-Setup {
    Write-Progress -Activity 'Deploying Mosquitto' -Status 'the machine sets itself up: about five minutes'
    Invoke-OnMachine -Command 'cloud-init status --wait', '/usr/local/sbin/mosquitto-setup state'
}

# Copies the package to the machine, which waits for it. A new machine takes a while until it answers.
function Send-Package {
    param(
        [Parameter(Mandatory)] [string] $To
    )
    Write-Progress -Activity 'Deploying Mosquitto' -Status "copying the package to $To"
    $options = @('-o', 'BatchMode=yes', '-o', 'StrictHostKeyChecking=accept-new', '-o', 'ConnectTimeout=10')
    for ($try = 1; $try -le 30; $try++) {
        # Under another name first, so that the machine never sees half of it.
        scp -q @options $PackageFile "${To}:/var/tmp/mqtt-acl.deb.part"
        if ($LASTEXITCODE -eq 0) {
            ssh @options $To 'mv /var/tmp/mqtt-acl.deb.part /var/tmp/mqtt-acl.deb'
        }
        if ($LASTEXITCODE -eq 0) {
            return
        }
        Write-Verbose "the machine does not answer over SSH yet, try $try of 30"
        Start-Sleep -Seconds 10
    }
    throw "cannot copy the package to ${To} over SSH, and why is said above. Is your address among -SshSourcePrefix, and your key the one given? Is the name known from an older machine (ssh-keygen -R)? Then run this again"
}

# Whether a name answers on the port with a certificate that this computer trusts: empty, or what is wrong.
function Test-Tls {
    param(
        [Parameter(Mandatory)] [string] $HostName,
        [Parameter(Mandatory)] [int] $Port
    )
    $connection = $null
    $tls = $null
    try {
        $connection = [Net.Sockets.TcpClient]::new()
        if (-not $connection.ConnectAsync($HostName, $Port).Wait(15000)) {
            return 'no answer within 15 seconds'
        }
        $tls = [Net.Security.SslStream]::new($connection.GetStream())
        $tls.AuthenticateAsClient($HostName)
        ''
    } catch {
        $_.Exception.Message
    } finally {
        if ($tls) {
            $tls.Dispose()
        }
        if ($connection) {
            $connection.Dispose()
        }
    }
}

# What was given, before anything is made.

$SshSourcePrefix = @($SshSourcePrefix -split '[ ,]+' -ne '')
Assert-Parameter -Pattern ([ordered] @{
    Environment = '[A-Za-z][A-Za-z0-9]{0,7}'
    Location = '[a-z0-9]+'
    OrgId = '([a-z0-9]{1,20})?'
    VmSize = '[A-Za-z0-9_]+'
    AdminUsername = '[a-z][a-z0-9_-]{0,30}'
    ServerNumber = '[1-9][0-9]?'
    ShutdownUtc = '(([01][0-9]|2[0-3])[0-5][0-9])?'
    ShutdownEmail = '([A-Za-z0-9._+-]+@[A-Za-z0-9.-]+)?'
    SshSourcePrefix = '\*|[0-9a-fA-F.:]+(/[0-9]{1,3})?'
    SubnetId = '(/subscriptions/[^/\s]+/resourceGroups/[^/\s]+/providers/Microsoft.Network/virtualNetworks/[^/\s]+/subnets/[^/\s]+)?'
    PackageUrl = '(https?://[A-Za-z0-9._~:/?#@!&()*+,;=%-]+)?'
    PackageSha256 = '([0-9a-fA-F]{64})?'
    MosquittoSource = 'distribution|ppa'
})
if (-not $MqttPassword -and -not $UniqueSecrets) {
    throw 'no password: give -MqttPassword or DEPLOY_MQTT_PASSWORD, or let -UniqueSecrets make random ones'
}
$password = ''
if ($MqttPassword) {
    $password = ConvertTo-PlainText -Secret $MqttPassword
    if ($password.Length -lt 8 -or $password -match '[\x00-\x1f\x7f]') {
        throw 'the password must have 8 characters or more, and no control characters'
    }
}
if (($PackageFile -ne '') -eq ($PackageUrl -ne '')) {
    throw 'say where the plugin''s package is: -PackageFile (deploy/package/build.sh makes one), or -PackageUrl and -PackageSha256'
}
if ($PackageUrl -and -not $PackageSha256) {
    throw 'give the SHA-256 of the package with -PackageSha256: what is downloaded is installed only if it is that'
}
if ($PackageFile) {
    if (-not (Test-Path -LiteralPath $PackageFile -PathType Leaf)) {
        throw "there is no package $PackageFile"
    }
    if ($SshSourcePrefix.Count -eq 0) {
        throw '-PackageFile is copied over SSH: say from which addresses with -SshSourcePrefix (''*'' for all)'
    }
    $PackageSha256 = (Get-FileHash -LiteralPath $PackageFile -Algorithm SHA256).Hash
}
if (-not $SshPublicKey) {
    foreach ($file in @("$HOME/.ssh/id_rsa.pub", "$HOME/.ssh/id_ed25519.pub")) {
        if (Test-Path -LiteralPath $file -PathType Leaf) {
            $SshPublicKey = $file
        }
    }
}
if (-not $SshPublicKey -or -not (Test-Path -LiteralPath $SshPublicKey -PathType Leaf)) {
    throw 'there is no public SSH key: make one with `ssh-keygen -t ed25519`, or name one with -SshPublicKey'
}

$account = Invoke-Az account show --output json | ConvertFrom-Json
if (-not $OrgId) {
    $OrgId = "0x$($account.id.Substring(0, 4))"
}
$name = Get-ServerName -Environment $Environment -ServerNumber $ServerNumber
$label = "mq$($Environment.ToLowerInvariant())$($ServerNumber.ToString('00'))"
$label6 = "$label-$OrgId"
$label4 = "${label}v4-$OrgId"
$hostName6 = "$label6.$Location.cloudapp.azure.com"
$hostName4 = $AddPublicIpv4 ? "$label4.$Location.cloudapp.azure.com" : ''
if (-not $SecretsFile) {
    $SecretsFile = "$label6.secrets"
}
$tags = @(
    'WorkloadName=mosquitto', 'ApplicationName=mosquitto', "Env=$Environment", 'BusinessUnit=IoT',
    'DataClassification=Non-business', 'Criticality=Low', "DeployedBy=$madeBy"
)
Write-Verbose "$($name.Group) in $Location, subscription $($account.name)"

# The resource group, and what is in it already.

$machines = @()
$interfaces = @()
$networks = @()
if (Test-ServerGroup -Group $name.Group) {
    $machines = @(Invoke-Az vm list --resource-group $name.Group --output json | ConvertFrom-Json)
    $interfaces = @(Invoke-Az network nic list --resource-group $name.Group --output json | ConvertFrom-Json)
    $networks = @(Invoke-Az network vnet list --resource-group $name.Group --output json | ConvertFrom-Json)
}
$isNew = $name.Machine -notin $machines.name
if ($UniqueSecrets -and $isNew -and (Test-Path -LiteralPath $SecretsFile)) {
    throw "$SecretsFile is there already, and perhaps the only copy of the secrets of another machine: move it away first"
}
if ($SubnetId) {
    $subnet = Invoke-Az network vnet subnet show --ids $SubnetId --output json | ConvertFrom-Json
    if (-not ("$($subnet.addressPrefix) $($subnet.addressPrefixes)" -match ':')) {
        throw "the subnet $SubnetId has no IPv6 prefix: add one, or leave -SubnetId out"
    }
}
Invoke-Step "resource group $($name.Group)" {
    Invoke-Az group create --name $name.Group --location $Location --tags $tags --output none
}

# The network. Rules of Azure's firewall are for both families.

Invoke-Step "network security group $($name.Firewall)" {
    Invoke-Az network nsg create --resource-group $name.Group --location $Location --name $name.Firewall --tags $tags `
        --output none
    # Azure takes no rule that mixes the families.
    Set-FirewallRule -Rule 'ssh' -Priority 1000 -Port 22 -Source @($SshSourcePrefix -notlike '*:*')
    Set-FirewallRule -Rule 'ssh-ipv6' -Priority 1010 -Port 22 -Source @($SshSourcePrefix -like '*:*')
    Set-FirewallRule -Rule 'http-for-certificates' -Priority 1020 -Port 80 -Source @('*')
    Set-FirewallRule -Rule 'mqtt-tls' -Priority 1030 -Port 8883 -Source @('*')
    Set-FirewallRule -Rule 'mqtt-without-tls' -Priority 1050 -Port 1883 -Source @($AllowInsecure ? '*' : @())
}
if (-not $SubnetId) {
    # A unique local prefix of this subscription: fd, ten of its digits, and the number of the server.
    $digits = $account.id -replace '-', ''
    $ula = "fd$($digits.Substring(0, 2)):$($digits.Substring(2, 4)):$($digits.Substring(6, 4)):$($ServerNumber)00"
    $network = $networks | Where-Object { $_.name -eq $name.Network }
    if (-not $network) {
        Invoke-Step "virtual network $($name.Network)" {
            Invoke-Az network vnet create --resource-group $name.Group --location $Location --name $name.Network `
                --address-prefixes "10.$ServerNumber.0.0/16" "${ula}::/56" --tags $tags --output none
        }
    }
    if ($name.Subnet -notin $network.subnets.name) {
        Invoke-Step "subnet $($name.Subnet)" {
            # Azure's own way out is needed only where the machine has no public IPv4 address: much of the net is still IPv4.
            Invoke-Az network vnet subnet create --resource-group $name.Group --vnet-name $name.Network --name $name.Subnet `
                --address-prefixes "10.$ServerNumber.0.0/24" "${ula}::/64" `
                --default-outbound-access ($AddPublicIpv4 ? 'false' : 'true') --output none
        }
    }
    $SubnetId = "/subscriptions/$($account.id)/resourceGroups/$($name.Group)/providers/Microsoft.Network" +
        "/virtualNetworks/$($name.Network)/subnets/$($name.Subnet)"
}
Invoke-Step "public IPv6 address $hostName6" {
    Invoke-Az network public-ip create --resource-group $name.Group --location $Location --name $name.Address6 `
        --version IPv6 --sku Standard --allocation-method Static --dns-name $label6 --tags $tags --output none
}
if ($AddPublicIpv4) {
    Invoke-Step "public IPv4 address $hostName4" {
        Invoke-Az network public-ip create --resource-group $name.Group --location $Location --name $name.Address4 `
            --version IPv4 --sku Standard --allocation-method Static --dns-name $label4 --tags $tags --output none
    }
}
# Azure wants the IPv4 configuration to be the first.
$interface = $interfaces | Where-Object { $_.name -eq $name.Interface }
if (-not $interface) {
    Invoke-Step "network interface $($name.Interface)" {
        Invoke-Az network nic create --resource-group $name.Group --location $Location --name $name.Interface `
            --subnet $SubnetId --network-security-group $name.Firewall --tags $tags --output none
    }
}
if ('ipconfig6' -notin $interface.ipConfigurations.name) {
    Invoke-Step "IPv6 of $($name.Interface)" {
        Invoke-Az network nic ip-config create --resource-group $name.Group --nic-name $name.Interface --name ipconfig6 `
            --private-ip-address-version IPv6 --subnet $SubnetId --public-ip-address $name.Address6 --output none
    }
}
if ($AddPublicIpv4) {
    Invoke-Step "IPv4 of $($name.Interface)" {
        Invoke-Az network nic ip-config update --resource-group $name.Group --nic-name $name.Interface --name ipconfig1 `
            --public-ip-address $name.Address4 --output none
    }
}

# The machine.

if ($isNew) {
    Invoke-Step "virtual machine $($name.Machine), $VmSize" {
        $secrets = Get-UserSecret -Password $password -UniqueSecrets $UniqueSecrets
        $customData = Get-CustomData -Value @{
            HOST_NAME_6 = $hostName6
            HOST_NAME_4 = $hostName4
            EMAIL = $ShutdownEmail
            PACKAGE_URL = $PackageUrl
            PACKAGE_SHA256 = $PackageSha256.ToLowerInvariant()
            ALLOW_INSECURE = $AllowInsecure ? 'yes' : 'no'
            MOSQUITTO_SOURCE = $MosquittoSource
            POLICY = Get-Content -Raw "$PSScriptRoot/policy.toml"
            PASSWORDS = ConvertTo-PasswordFile -Secret $secrets
        }
        if ($UniqueSecrets) {
            Write-SecretsFile -Path $SecretsFile -Secret $secrets
        } else {
            Write-Warning 'each user''s password is the given one and a digit: for trying things out only (see -UniqueSecrets)'
        }
        # It holds no password, but it is nobody's business either: in a file of yours alone, and gone after the call.
        $file = [IO.Path]::GetTempFileName()
        try {
            Set-Content -LiteralPath $file -Value $customData -NoNewline
            Invoke-Az vm create --resource-group $name.Group --location $Location --name $name.Machine --size $VmSize `
                --image $image --nics $name.Interface --os-disk-name $name.Disk --storage-sku StandardSSD_LRS `
                --security-type TrustedLaunch --enable-secure-boot true --enable-vtpm true `
                --admin-username $AdminUsername --authentication-type ssh --ssh-key-values $SshPublicKey `
                --custom-data $file --tags $tags --output none
        } finally {
            Remove-Item -LiteralPath $file
        }
    }
} else {
    Write-Warning "$($name.Machine) is there already: it keeps its users, policy, package and listeners; to make it anew, remove-mosquitto.ps1"
    Invoke-Step "start of $($name.Machine)" {
        Invoke-Az vm start --resource-group $name.Group --name $name.Machine --output none
    }
}
Invoke-Step "boot diagnostics of $($name.Machine)" {
    Invoke-Az vm boot-diagnostics enable --resource-group $name.Group --name $name.Machine --output none
}
if ($ShutdownUtc -and $ShutdownEmail) {
    Invoke-Step "shutdown at $ShutdownUtc UTC, with a mail" {
        Invoke-Az vm auto-shutdown --resource-group $name.Group --name $name.Machine --time $ShutdownUtc `
            --email $ShutdownEmail --output none
    }
} elseif ($ShutdownUtc) {
    Invoke-Step "shutdown at $ShutdownUtc UTC" {
        Invoke-Az vm auto-shutdown --resource-group $name.Group --name $name.Machine --time $ShutdownUtc --output none
    }
} elseif (-not $isNew) {
    Invoke-Step 'no shutdown' {
        Invoke-Az vm auto-shutdown --resource-group $name.Group --name $name.Machine --off --output none
    }
}
if ($WhatIfPreference) {
    return
}

# What the machine makes of it.

if ($PackageFile -and ($isNew -or (Invoke-OnMachine -Command '/usr/local/sbin/mosquitto-setup state') -notmatch 'broker ready')) {
    Send-Package -To "$AdminUsername@$($AddPublicIpv4 ? $hostName4 : $hostName6)"
}
$said = Wait-Setup
if ($said -notmatch 'broker ready' -and -not $isNew) {
    Write-Verbose 'the setup failed before: trying it again'
    $null = Invoke-OnMachine -Command '/usr/local/sbin/mosquitto-setup'
    $said = Wait-Setup
}
if ($said -notmatch 'broker ready') {
    throw "the machine did not become a broker. It says: $said`nRun this again to try again, or remove-mosquitto.ps1; README.md tells how to look into it."
}
$hasWebSockets = $said -match 'websockets=yes'
Invoke-Step "WebSockets in $($name.Firewall)" {
    Set-FirewallRule -Rule 'mqtt-websockets-tls' -Priority 1040 -Port 8083 -Source @($hasWebSockets ? '*' : @())
}

$names = @($hostName6, $hostName4) -ne ''
$reached = 0
foreach ($each in $names) {
    $problem = Test-Tls -HostName $each -Port 8883
    if ($problem) {
        Write-Warning "${each} port 8883 does not answer as it should from this computer: $problem"
    } else {
        $reached++
    }
}
if ($reached -eq 0) {
    throw "the broker runs, but no name of it answers from this computer with a certificate that it trusts: $($names -join ', ')"
}
Write-Progress -Activity 'Deploying Mosquitto' -Completed

Write-Output 'The broker is ready:'
Write-Output "  IPv6: $hostName6"
if ($hostName4) {
    Write-Output "  IPv4: $hostName4"
}
if ($UniqueSecrets -and $isNew) {
    Write-Output "The secrets of its users are in $SecretsFile. Keep it safe: there is no other copy."
}
Write-Output 'To test it, with the passwords in the variables MQTT_PASSWORD (of mqttuser) and DEVICE_PASSWORD (of dev00001):'
foreach ($each in $names) {
    Write-Output "  mosquitto_sub -h $each -p 8883 --capath /etc/ssl/certs -u mqttuser -P `"`$MQTT_PASSWORD`" -t 'dt/#' -v"
    Write-Output "  mosquitto_pub -h $each -p 8883 --capath /etc/ssl/certs -u dev00001 -P `"`$DEVICE_PASSWORD`" -t dt/demo/1/dev00001/senml -m '[]'"
}
if ($hasWebSockets) {
    Write-Output "From a browser: wss://${hostName6}:8083/"
}
if ($SshSourcePrefix.Count -gt 0) {
    Write-Output "To log in: ssh $AdminUsername@$($names[-1])"
}
